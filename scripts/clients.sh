#!/usr/bin/env bash
# The server beside its real clients: curl, the openai package and lm-evaluation-harness,
# whose accuracy must equal that of `alphalora eval` item by item. Prints what was checked,
# and fails at the first difference.
#
#   PYTHON=/path/to/python scripts/clients.sh
#
# PYTHON has openai, lm-eval[api], torch and transformers (pip install openai "lm-eval[api]"
# torch transformers).
set -euo pipefail
cd "$(dirname "$0")/.."
dir=runs/clients
rm -rf "$dir"
mkdir -p "$dir/data"
export HF_HUB_OFFLINE=1 HF_DATASETS_CACHE=$PWD/$dir/cache GOMLX_NO_AUTO_INSTALL=1 PYTHONDONTWRITEBYTECODE=1 TOKENIZERS_PARALLELISM=false
make build

cp -r internal/seedling/base "$dir/model"
cat >"$dir/model/chat_template.jinja" <<'END'
{{ bos_token }}{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}
{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}
END
echo 'a key of the test' >"$dir/key"

# Tasks of the shipped model under the names of the benchmarks whose answers are alike.
go run ./scripts/seedling -records -out "$dir/records"
mv "$dir/records/grammar" "$dir/data/cola"
mv "$dir/records/sums" "$dir/data/addsub"
evaluate() { bin/alphalora eval --model "$dir/model" --data "$dir/data" --batch 40 "$@" >/dev/null 2>&1; }
evaluate --benchmark cola --by likelihood --samples "$dir/choice.jsonl"
evaluate --benchmark addsub --max-new-tokens 16 --samples "$dir/written.jsonl"

bin/alphalora serve --model "$dir/model" --addr 127.0.0.1:0 --api-key-file "$dir/key" --max-body 100000 2>"$dir/server.log" &
server=$!
trap 'kill $server 2>/dev/null || true' EXIT
for _ in $(seq 600); do
  grep -q '"listening"' "$dir/server.log" && break
  kill -0 $server || { cat "$dir/server.log" >&2; exit 1; }
  sleep 0.1
done
url=http://$(sed -n 's/.*"msg":"listening","addr":"\([^"]*\)".*/\1/p' "$dir/server.log")

# curl
ask() { curl --silent --show-error --max-time 300 -H "Authorization: Bearer $(cat "$dir/key")" "$@"; }
status() { ask --output /dev/null --write-out '%{http_code}' "$@"; }
same() { [ "$1" = "$2" ] || { echo "clients: curl: $3 is $1, not $2" >&2; exit 1; }; }
same "$(ask "$url/healthz")" '{"status":"ok"}' /healthz
same "$(curl --silent --output /dev/null --write-out '%{http_code}' "$url/v1/models")" 401 'without a key'
ask "$url/v1/completions" -d '{"model":"model","prompt":"Is a stone alive?","max_tokens":8,"stream":true}' --no-buffer | tail -n 2 | grep -qx 'data: \[DONE\]'
same "$(status "$url/v1/completions" -d '{"prompt":')" 400 'malformed JSON'
same "$(head -c 200000 /dev/zero | tr '\0' a | status "$url/v1/completions" --data-binary @-)" 413 'a large body'
ask "$url/metrics" | grep -q '^alphalora_requests_total'
echo "clients: curl: health, key, stream, malformed, large, metrics"

ALPHALORA_KEY=$(cat "$dir/key") "${PYTHON:-python3}" scripts/clients.py "$url" "$dir"

kill -TERM $server
code=0
wait $server || code=$?
same "$code" 143 'the exit status after SIGTERM'
trap - EXIT
same "$(tail -n +2 "$dir/server.log" | grep -v '^alphalora: stopped' | grep -cv '^{')" 0 'lines of the log that are not JSON'
echo "clients: the server ended in order"
