#!/bin/sh
# Stands in for the command line of an engine that has the version FAKE_ENGINE.
echo "$FAKE_ENGINE"
