#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Generates Python code from proto/ with Debian's tools and runs the example: run.sh SERVER [VM TARGET]
# Needs: apt-get install protobuf-compiler protobuf-compiler-grpc libprotobuf-dev python3-grpcio python3-protobuf
set -eu

here=$(cd "$(dirname "$0")" && pwd)
proto=$here/../../../proto
for tool in protoc grpc_python_plugin; do
  command -v "$tool" >/dev/null || { echo "run.sh: $tool is missing; see the packages at the top of $0" >&2; exit 2; }
done

gen=$(mktemp -d)
trap 'rm -rf "$gen"' EXIT
protoc -I "$proto" --python_out="$gen" --grpc_python_out="$gen" \
  --plugin=protoc-gen-grpc_python="$(command -v grpc_python_plugin)" "$proto"/lockstep/v1/*.proto

PYTHONPATH=$gen PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 "$here/move_vm.py" "$@"
