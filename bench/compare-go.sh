#!/usr/bin/env bash
# compare-go.sh BASE ROUNDS RESULTS PACKAGE:BENCHMARKS...: compare Go benchmarks of this tree with
# those of the revision BASE. Both test binaries run in turn. Run it in the root folder.
set -euo pipefail
base=$1 rounds=$2 results=$PWD/$3/compare-go
shift 3

dir="$(mktemp -d)"
trap 'rm -rf "$dir"' EXIT
mkdir "$dir/base"
git archive "$base" | tar -x -C "$dir/base"
mkdir -p "$results"
: >"$results/old.txt"
: >"$results/new.txt"

for each in "$@"; do
  package="${each%%:*}" benchmarks="${each#*:}"
  name="${package//[.\/]/_}"
  if [ ! -d "$dir/base/$package" ]; then
    echo "$package: not in $base, skipped" >&2
    continue
  fi
  (cd "$dir/base" && go test -c -o "$dir/old$name" "$package")
  go test -c -o "$dir/new$name" "$package"
  run=(-test.run '^$' -test.bench "$benchmarks" -test.benchtime 0.5s)
  for round in $(seq "$rounds"); do
    (cd "$dir/base/$package" && "$dir/old$name" "${run[@]}") >>"$results/old.txt"
    (cd "$package" && "$dir/new$name" "${run[@]}") >>"$results/new.txt"
    echo "$package: round $round of $rounds" >&2
  done
done
go tool benchstat "$results/old.txt" "$results/new.txt"
