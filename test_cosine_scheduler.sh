#!/usr/bin/env bash
# Smoke test: trains the main job on a few chains at a constant rate, with warm-up and cosine, and with the preset wsd.
# Compares every applied learning rate with the formula, which awk computes here without the package. Then runs the first
# two as a sweep, starts the sweep again, and compares its table with the runs.
#   bash test_cosine_scheduler.sh        uses `python`, or .venv/bin/python if `python` has no partoken package
set -euo pipefail
cd "$(dirname "$0")"
export LC_ALL=C

lr=7e-4 epochs=3 warmup=1
fail() { printf 'FAILED: %s\n' "$*" >&2; exit 1; }

python=${PYTHON:-python}
command -v "$python" >/dev/null || python=.venv/bin/python
"$python" -c pass || fail "$python does not run"
"$python" -c 'import partoken, torch' 2>/dev/null || python=.venv/bin/python
"$python" -c 'import partoken, torch' || fail "no environment: run make test, or put a python with the package on PATH"

runs=$(mktemp -d)
trap 'rm -rf "$runs"' EXIT

keys=(train.epochs=$epochs train.lr=$lr train.batch_size=4 train.schedule_interval=epoch train.num_workers=0
  model.max_clusters=5 model.codebook_size=64 data.limit=24 train.warmup_epochs=$warmup train.min_lr=0)

train() { # NAME OVERRIDE...: runs the main job in $runs/NAME and checks that the run folder is complete
  local name=$1 file; shift
  echo "training: $name"
  "$python" run_partoken.py hydra.run.dir="$runs/$name" "${keys[@]}" "$@" >"$runs/$name.log" 2>&1 || { tail -n 30 "$runs/$name.log" >&2; fail "the $name run ended with an error"; }
  for file in checkpoints/best.ckpt checkpoints/last.ckpt lr.csv metrics.csv summary.json run.log .hydra/config.yaml \
    plots/learning_rate.png plots/losses.png plots/confusion_matrix.png; do
    [ -s "$runs/$name/$file" ] || fail "the $name run left no $file"
  done
}

check() { # NAME COSINE(0|1): compares every row of lr.csv with the formula
  awk -F, -v name="$1" -v cosine="$2" -v lr=$lr -v epochs=$epochs -v warmup=$warmup '
    BEGIN { pi = atan2(0, -1) }
    NR == 1 { if ($0 !~ /^step,epoch,group,lr\r?$/) { print name ": header is " $0; bad = 1 } next }
    {
      factor = 1
      if (cosine && $2 < warmup) { factor = $2 / warmup; if (factor < 1e-6) factor = 1e-6 }
      if (cosine && $2 >= warmup) factor = 0.5 * (1 + cos(pi * ($2 - warmup) / (epochs - warmup)))
      off = $4 - lr * factor; if (off < 0) off = -off
      if (off > 1e-9 * lr) { printf "%s: row %s: the formula gives %.10e\n", name, $0, lr * factor; bad = 1 }
      if (!($2 in seen)) { seen[$2] = 1; count++ }
      rows++
    }
    END {
      if (count != epochs) { printf "%s: %d epochs in lr.csv, %d expected\n", name, count, epochs; bad = 1 }
      if (rows < 2 * epochs) { printf "%s: only %d rows\n", name, rows; bad = 1 }
      if (!bad) printf "%s: %d rows follow the formula\n", name, rows
      exit bad
    }' "$runs/$1/lr.csv" || fail "the $1 run did not follow the formula"
}

check_wsd() { # NAME: two steps of warm-up, constant, then 1-sqrt over the second half of the steps
  awk -F, -v name="$1" -v lr=$lr -v warmup=2 '
    NR > 1 { rate[$1] = $4; if ($1 >= total) total = $1 + 1 }
    END {
      begins = int(total / 2 + 0.5)
      for (step = 0; step < total; step++) {
        factor = step < warmup ? step / warmup : step < begins ? 1 : 1 - sqrt((step - begins) / (total - begins))
        off = rate[step] - lr * factor; if (off < 0) off = -off
        if (off > 1e-9 * lr) { printf "%s: step %d has %s, the formula %.10e\n", name, step, rate[step], lr * factor; bad = 1 }
      }
      if (begins <= warmup || total - begins < 2) { printf "%s: only %d steps\n", name, total; bad = 1 }
      if (!bad) printf "%s: %d steps follow the formula\n", name, total
      exit bad
    }' "$runs/$1/lr.csv" || fail "the $1 run did not follow the formula"
}

train constant train.use_cosine_schedule=false
check constant 0
train cosine train.use_cosine_schedule=true
check cosine 1
train wsd schedule=wsd schedule.warmup=2 schedule.decay=50% train.schedule_interval=step
check_wsd wsd

sweep() { # runs both as the jobs of a sweep, or what is missing of them
  "$python" run_partoken.py -m hydra.sweep.dir="$runs/sweep" "${keys[@]}" train.use_cosine_schedule=false,true \
    >"$runs/sweep.log" 2>&1 || { tail -n 30 "$runs/sweep.log" >&2; fail "the sweep ended with an error"; }
}

echo "training: the first two as a sweep"
sweep
table=$runs/sweep/sweep.csv
[ "$(wc -l <"$table")" -eq 3 ] || fail "sweep.csv has not one row for each of the two jobs"
[ "$(grep -c finished "$table")" -eq 2 ] || fail "sweep.csv does not have two finished jobs"
cmp "$runs/constant/lr.csv" "$runs/sweep/0/lr.csv" || fail "job 0 is not the constant run"
cmp "$runs/cosine/lr.csv" "$runs/sweep/1/lr.csv" || fail "job 1 is not the cosine run"
rm -r "$runs/sweep/0"
before=$(stat -c %Y%i "$runs/sweep/1/summary.json")
sweep
cmp "$runs/constant/lr.csv" "$runs/sweep/0/lr.csv" || fail "the missing job was not run again"
[ "$before" = "$(stat -c %Y%i "$runs/sweep/1/summary.json")" ] || fail "a finished job was run again"
echo "PASSED: every applied learning rate follows the formula, and a sweep runs what is missing"
