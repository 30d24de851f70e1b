#!/bin/sh
# Creates a small repository like the application's at $1. Its commits are always the same.
set -eu
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null
export GIT_AUTHOR_NAME=robot GIT_AUTHOR_EMAIL=robot@example.com GIT_AUTHOR_DATE=2026-01-01T00:00:00Z
export GIT_COMMITTER_NAME=robot GIT_COMMITTER_EMAIL=robot@example.com GIT_COMMITTER_DATE=2026-01-01T00:00:00Z
rm -rf "$1"
git init --quiet --initial-branch=main "$1/work"
cd "$1/work"
mkdir -p config simulation/assets
echo 'planner: {}' > config/nav2_params.yaml
echo warehouse > simulation/assets/environment.usd
git add .
git commit --quiet --message='The application'
git tag v1.0.0
echo 'planner: {tolerance: 0.5}' > config/nav2_params.yaml
git commit --quiet --all --message='Another tolerance'
git tag v1.1.0
git clone --quiet --bare . "$1/application.git"
