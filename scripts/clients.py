"""Real clients against a running server; called by clients.sh."""

import asyncio
import json
import logging
import os
import pathlib
import sys

import openai

url, folder = sys.argv[1], pathlib.Path(sys.argv[2])
key = os.environ["ALPHALORA_KEY"]


def check(holds, what):
    if not holds:
        sys.exit(f"clients: {what}")


def refused(error, call):
    try:
        call()
    except error as e:
        check(e.body and e.body["message"], f"{error.__name__} without a message")
        return
    sys.exit(f"clients: openai: no {error.__name__}")


def with_openai():
    client = openai.OpenAI(base_url=url + "/v1", api_key=key, max_retries=0)
    check([m.id for m in client.models.list()] == ["model"], "openai: models")
    ask = dict(model="model", prompt="Is a stone alive?", temperature=0, max_tokens=12)
    plain = client.completions.create(**ask, logprobs=2)
    text = plain.choices[0].text
    check(len(text) > 5 and plain.usage.completion_tokens == 12, "openai: completion")
    check(len(plain.choices[0].logprobs.token_logprobs) == 12, "openai: logprobs")
    pieces = list(client.completions.create(**ask, stream=True, stream_options={"include_usage": True}))
    check("".join(c.text for p in pieces for c in p.choices) == text, "openai: stream")
    check(pieces[-1].usage == plain.usage, "openai: usage of a stream")
    echo = client.completions.create(**(ask | dict(max_tokens=0)), echo=True, logprobs=1)
    check(echo.choices[0].text == ask["prompt"] and echo.choices[0].logprobs.token_logprobs[0] is None, "openai: echo")
    cut = client.completions.create(**ask, stop=text[4:7])
    check(cut.choices[0].text == text[: text.index(text[4:7])] and cut.choices[0].finish_reason == "stop", "openai: stop")
    drawn = [client.completions.create(**(ask | dict(temperature=1.0)), seed=7, n=2) for _ in range(2)]
    check(drawn[0].choices == drawn[1].choices and drawn[0].choices[0].text != drawn[0].choices[1].text, "openai: seed and n")

    talk = dict(model="model", temperature=0, max_completion_tokens=12,
                messages=[{"role": "user", "content": [{"type": "text", "text": "Is a stone alive?"}]}])
    chat = client.chat.completions.create(**talk, logprobs=True, top_logprobs=3)
    said = chat.choices[0].message.content
    check(len(said) > 0 and len(chat.choices[0].logprobs.content) == 12, "openai: chat")
    pieces = client.chat.completions.create(**talk, stream=True)
    check("".join(c.delta.content or "" for p in pieces for c in p.choices) == said, "openai: chat stream")

    refused(openai.BadRequestError, lambda: client.completions.create(**ask, frequency_penalty=1))
    refused(openai.BadRequestError, lambda: client.completions.create(**(ask | dict(prompt="stone " * 500))))
    refused(openai.BadRequestError, lambda: client.completions.create(**ask, extra_body={"top_q": 1}))
    refused(openai.NotFoundError, lambda: client.completions.create(**(ask | dict(model="gpt"))))
    refused(openai.AuthenticationError, lambda: openai.OpenAI(base_url=url + "/v1", api_key="wrong", max_retries=0).models.list())
    print(f"clients: openai {openai.__version__}: models, completions, echo, logprobs, stop, seed, n, streams, chat, usage, refusals")
    asyncio.run(together(ask, text))


async def together(ask, text):
    """Many at once give what each gives alone."""
    client = openai.AsyncOpenAI(base_url=url + "/v1", api_key=key, max_retries=0)
    answers = await asyncio.gather(*(client.completions.create(**(ask | dict(max_tokens=4 + i % 9))) for i in range(64)))
    for a in answers:
        check(text.startswith(a.choices[0].text) and a.usage.completion_tokens >= 4, "openai: neighbours change an answer")
    print("clients: openai: 64 requests at once")


def samples(name):
    return [json.loads(line) for line in open(folder / name)]


TASK = """task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {file}}}}}
test_split: test
doc_to_text: "{{{{prompt}}}}"
target_delimiter: ""
{rest}
"""
CHOICE = """output_type: multiple_choice
doc_to_choice: choices
doc_to_target: gold
metric_list: [{metric: acc}]
"""
WRITTEN = """output_type: generate_until
doc_to_target: "{{gold}}"
generation_kwargs: {until: ["\\n\\n\\n"], max_gen_toks: 16, temperature: 0.0}
filter_list:
  - name: last
    filter: [{function: regex, regex_pattern: "(-?[0-9]+)(?!.*[0-9])"}, {function: take_first}]
metric_list: [{metric: exact_match}]
"""


def write_task(name, docs, rest):
    file = (folder / f"{name}-docs.jsonl").resolve()
    file.write_text("".join(json.dumps(d) + "\n" for d in docs))
    (folder / "tasks").mkdir(exist_ok=True)
    (folder / "tasks" / f"{name}.yaml").write_text(TASK.format(name=name, file=file, rest=rest))


def with_harness():
    import lm_eval
    from lm_eval.tasks import TaskManager

    logging.disable(logging.WARNING)
    os.environ["OPENAI_API_KEY"] = key
    answers = ["acceptable", "unacceptable"]
    choice, written = samples("choice.jsonl"), samples("written.jsonl")
    write_task("ours_choice", [dict(prompt=s["prompt"], choices=[f"Answer: {a}." for a in answers], gold=answers.index(s["gold"])) for s in choice], CHOICE)
    write_task("ours_written", [dict(prompt=s["prompt"], gold=s["gold"]) for s in written], WRITTEN)
    results = lm_eval.simple_evaluate(
        model="local-completions",
        model_args=dict(model="model", base_url=url + "/v1/completions", tokenizer=str(folder / "model"), tokenizer_backend="huggingface",
                        tokenized_requests=True, add_bos_token=True, max_length=256, num_concurrent=4),
        tasks=["ours_choice", "ours_written"], task_manager=TaskManager(include_path=str(folder / "tasks"), include_defaults=False),
        batch_size=4, log_samples=True, bootstrap_iters=0)
    compare("likelihood", results["samples"]["ours_choice"], choice, "acc", lambda theirs, ours: True)
    compare("generation", results["samples"]["ours_written"], written, "exact_match", lambda theirs, ours: theirs["resps"][0][0] == ours["output"])


def compare(what, theirs, ours, metric, same_text):
    theirs = sorted((s for s in theirs), key=lambda s: s["doc_id"])
    check(len(theirs) == len(ours) > 0, f"lm-eval: {what}: {len(theirs)} items, not {len(ours)}")
    for t, o in zip(theirs, ours):
        check(same_text(t, o), f"lm-eval: {what}: item {t['doc_id']}: {t['resps']} is not {o['output']!r}")
        check(bool(t[metric]) == o["correct"], f"lm-eval: {what}: item {t['doc_id']} is graded {t[metric]}, by eval {o['correct']}: {o['output']!r}")
    print(f"clients: lm-eval: {what}: {len(ours)} items graded as by alphalora eval, accuracy {sum(o['correct'] for o in ours) / len(ours):.3f}")


with_openai()
with_harness()
