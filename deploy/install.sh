#!/bin/sh
# Installs azpolicy and exactly what requirements.lock names into a new folder: deploy/install.sh FOLDER
#
# FOLDER becomes a Python environment without pip: every file in it has been checked against its SHA-256, nothing was
# compiled, any user may read it, and nothing has to be written there at run time. Dockerfile runs this, and a test.
# PYTHON names the interpreter, otherwise python3: 3.11 or newer, with pip.
set -eu
umask 022

folder=$1
python=${PYTHON:-python3}
source=$(cd "$(dirname "$0")/.." && pwd)
build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT

# pip, for the environment in folder $1.
pip_for() {
    environment=$1
    shift
    "$python" -m pip --quiet --disable-pip-version-check --python "$environment/bin/python" "$@"
}

# The wheel is built apart, so that what builds it does not come along: the lock's entries of hatchling and its needs.
awk 'function put() { if (entry ~ /^hatchling=|# +(via +)?hatchling\n/) printf "%s", entry; entry = "" }
     /^[a-z]/ { put() } { entry = entry $0 "\n" } END { put() }' "$source/requirements-dev.lock" >"$build/requirements.txt"
"$python" -m venv --without-pip "$build/environment"
pip_for "$build/environment" install --require-hashes --requirement "$build/requirements.txt"
pip_for "$build/environment" wheel --no-deps --no-build-isolation --wheel-dir "$build" "$source"

"$python" -m venv --without-pip "$folder"
pip_for "$folder" install --require-hashes --only-binary :all: --requirement "$source/requirements.lock"
pip_for "$folder" install --no-index --no-deps "$build"/*.whl
