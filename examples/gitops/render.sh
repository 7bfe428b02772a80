#!/bin/sh
# Renders a snapshot into the two folders that flux.yaml and argocd.yaml name: render.sh [SNAPSHOT]
# Run it where changes are reviewed, and commit what it writes. The folders are made anew each time.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
snapshot=${1:-$here/../snapshot}
rendered=$(mktemp -d)
trap 'rm -rf "$rendered"' EXIT

azpolicy render --strict --snapshot "$snapshot" --output "$rendered"

rm -rf "$here/templates" "$here/policies"
mkdir "$here/templates" "$here/policies"
for file in "$rendered"/*; do
    case ${file##*/} in
        1-constrainttemplate-*) mv "$file" "$here/templates/" ;;
        *) mv "$file" "$here/policies/" ;;
    esac
done
