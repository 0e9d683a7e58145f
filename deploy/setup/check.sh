#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Everything that can be judged without running the system: types, lint, the API's style and compatibility, the house's
# own rules, dead code. Goes through all of it and fails at the end, so that one run tells everything.
set -u
cd "$(dirname "$0")/../.." || exit 1

failed=''
judge() {
  name=$1
  shift
  printf 'check: %s\n' "$name" >&2
  "$@" || failed="$failed $name"
}

bin=node_modules/.bin
judge types npm run --silent build
judge lint "$bin/eslint" --cache --cache-location node_modules/.cache/eslint/ .
judge buf-lint "$bin/buf" lint
judge buf-format "$bin/buf" format --diff --exit-code
# Against a committed image, not against main: after a merge main would only be compared with itself.
judge buf-breaking "$bin/buf" breaking --against proto/baseline.binpb
judge tidy "$bin/vitest" run --config test/vitest.config.ts --project unit --reporter dot test/tidy
judge dead-code "$bin/knip" --config deploy/setup/knip.json --no-progress

[ -z "$failed" ] || {
  printf 'check: failed:%s\n' "$failed" >&2
  exit 1
}
printf 'check: clean\n' >&2
