#!/bin/sh
# Adds up one field of a JSON array.
exec jq --arg field "$FIELD" '{total: (map(.[$field]) | add // 0)}'
