#!/usr/bin/env bash
# compare.sh BASE ROUNDS RESULTS: compare the throughput and latency of this tree with those of the
# revision BASE. Both programs run in turn. Run it in the root folder.
set -euo pipefail
base=$1 rounds=$2 results=$3

dir="$(mktemp -d)"
trap 'rm -rf "$dir"' EXIT
mkdir "$dir/base"
git archive "$base" | tar -x -C "$dir/base"
(cd "$dir/base" && go build -o "$dir/hookgate" ./cmd/hookgate)

go run ./bench -long=false -only embedded,postgres,everysec,always -rounds "$rounds" \
  -flat-out 30000 -paced 2500 -against "$dir/hookgate" \
  -json "$results/compare.json" -lines "$results/compare"
go tool benchstat "$results/compare/old.txt" "$results/compare/new.txt"
