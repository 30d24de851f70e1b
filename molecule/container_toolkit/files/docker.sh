#!/bin/sh
# A fake of the command line of an engine that has the version FAKE_ENGINE.
echo "{\"ServerVersion\": \"$FAKE_ENGINE\"}"
