import asyncio
import json
import math
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from benchmarks import recording, table
from benchmarks.common import Bar, Session, lean, run_side, serving
from benchmarks.environments import BenchError
from benchmarks.faults import Weather, fate, needed
from benchmarks.items import CLASSES, accuracy, answer_of, questions
from benchmarks.ratios import bootstrap, median, ratio

ROUGH = Weather(latency=0.001, limited=0.2, broken=0.1, hung=0.1, retry_after=3.0)


@pytest.fixture(scope="module")
def server():
    with serving() as running:
        yield running


def post(server, text, timeout=5.0):
    body = json.dumps({"model": "bench", "messages": [{"role": "user", "content": text}]}).encode()
    request = urllib.request.Request(f"{server.url}/chat/completions", body)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=timeout) as answer:
        return json.loads(answer.read())


def test_the_server_answers_from_the_question_alone_and_counts(server):
    server.become(Weather(latency=0.0))
    asked = questions(20)
    for q in [*asked, asked[0]]:
        doc = post(server, q.text)
        assert doc["choices"][0]["message"]["content"] == answer_of(q.code)
        assert doc["usage"]["total_tokens"] == doc["usage"]["prompt_tokens"] + doc["usage"]["completion_tokens"]
    stats = server.stats()
    assert (stats["requests"], stats["distinct"], stats["answered"], stats["again"]) == (21, 20, 20, 1)
    assert stats["kinds"] == {"answered": 21}


def test_the_server_answers_in_the_form_of_a_field_where_asked_for_one(server):
    server.become(Weather(latency=0.0))
    (q,) = questions(1)
    said = post(server, f"[[ ## text ## ]]\n{q.text}\n\nReply with `[[ ## label ## ]]`.")["choices"][0]["message"]
    assert said["content"] == f"[[ ## label ## ]]\n{answer_of(q.code)}\n\n[[ ## completed ## ]]"


def test_the_server_fails_as_the_fates_say(server):
    server.become(ROUGH)
    seen = {"limited": 0, "broken": 0, "hung": 0, "answered": 0}
    for q in questions(60):
        kind = fate(ROUGH, q.code, 1).kind
        seen[kind] += 1
        if kind == "answered":
            post(server, q.text)
            continue
        with pytest.raises((urllib.error.HTTPError, TimeoutError)) as raised:
            post(server, q.text, timeout=0.1 if kind == "hung" else 5.0)
        if kind != "hung":
            assert raised.value.code == {"limited": 429, "broken": 500}[kind]
            assert raised.value.headers["Retry-After"] == ("3" if kind == "limited" else None)
            raised.value.close()
    assert all(seen.values())
    stats = server.stats()
    assert stats["kinds"] == seen
    assert stats["answered"] == seen["answered"]


def test_latency_and_requests_sent_at_once_on_one_connection(server):
    server.become(Weather(latency=0.05))
    asked = questions(3, seed=7)

    async def talk():
        reader, writer = await asyncio.open_connection("127.0.0.1", int(server.address.rsplit(":", 1)[1]))
        bodies = [json.dumps({"messages": [{"role": "user", "content": q.text}]}).encode() for q in asked]
        heads = [b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % len(b) for b in bodies]
        began = asyncio.get_running_loop().time()
        whole = b"".join(h + b for h, b in zip(heads, bodies, strict=True))
        writer.write(whole[:-10])
        await writer.drain()
        await asyncio.sleep(0)
        writer.write(whole[-10:])
        said = []
        for _ in asked:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            size = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
            said.append(json.loads(await reader.readexactly(size))["choices"][0]["message"]["content"])
        took = asyncio.get_running_loop().time() - began
        writer.close()
        await writer.wait_closed()
        return said, took

    said, took = asyncio.run(talk())
    assert said == [answer_of(q.code) for q in asked]
    assert took >= 3 * 0.05 - 0.01  # one after the other on one connection
    assert server.stats()["connections"] >= 1


def test_a_question_without_an_item_is_refused(server):
    with pytest.raises(urllib.error.HTTPError) as raised:
        post(server, "hello")
    assert raised.value.code == 400
    raised.value.close()


def test_fates_have_their_shares_and_do_not_depend_on_order():
    codes = [q.code for q in questions(4000)]
    kinds = [fate(ROUGH, c, 1).kind for c in codes]
    for kind, share in (("limited", 0.2), ("broken", 0.1), ("hung", 0.1)):
        assert abs(kinds.count(kind) / len(codes) - share) < 4 * math.sqrt(share * (1 - share) / len(codes))
    assert [fate(ROUGH, c, 1).kind for c in reversed(codes)] == kinds[::-1]
    assert [fate(ROUGH, c, 2).kind for c in codes] != kinds


def test_a_heavy_tail_has_its_exponent_and_its_end():
    weather = Weather(latency=0.05, tail=2.0)
    latencies = sorted(fate(weather, q.code, 1).latency for q in questions(4000))
    assert latencies[0] >= 0.05
    assert latencies[-1] <= 1.0
    assert abs(latencies[2000] - 0.05 * math.sqrt(2)) < 0.005  # the median of a Pareto tail of exponent 2


def test_what_a_perfect_client_needs():
    calm = Weather(latency=0.5)
    codes = [q.code for q in questions(40)]
    assert needed(calm, codes, 4, 2.0) == (40, 5.0)
    assert needed(calm, codes[:2], 4, 2.0) == (2, 0.5)  # no faster than the longest item
    rough = needed(ROUGH, codes, 1, 2.0)
    retries, hung, limited = 0, 0, 0
    for code in codes:
        attempt = 1
        while (kind := fate(ROUGH, code, attempt).kind) != "answered":
            retries, hung, limited, attempt = retries + 1, hung + (kind == "hung"), limited + 1, attempt + 1
    assert rough.attempts == 40 + retries
    assert rough.seconds == pytest.approx((40 + retries - hung) * 0.001 + hung * 2.0)


def test_questions_are_distinct_and_their_labels_mostly_agree_with_the_server():
    asked = questions(500)
    assert len({q.code for q in asked}) == 500
    assert asked == questions(500) != questions(500, seed=1)
    assert {q.label for q in asked} == set(CLASSES)
    assert 0.8 < accuracy([answer_of(q.code) for q in asked], asked) < 0.9


def test_ratio_of_medians_with_an_interval_over_pairs():
    theirs, ours = [10.0, 12.0, 11.0, 30.0, 10.5], [5.0, 6.0, 5.5, 15.0, 5.25]
    found = ratio(theirs, ours)
    assert found == (2.0, 2.0, 2.0)  # pairs stay together: the slow pair is slow on both sides
    spread = ratio(theirs, ours[::-1])
    assert spread.low < spread.value == 2.0 < spread.high
    assert median([3.0, 1.0, 2.0]).value == 2.0
    assert median([4.0]) == (4.0, 4.0, 4.0)
    assert bootstrap(lambda a, b: a - b, [3.0] * 4, [1.0] * 4) == (2.0, 2.0, 2.0)


def test_runs_alternate_a_b_b_a():
    order = []
    session = Session("B0", repeats=4)

    def once(name):
        order.append(name)
        return {"wall": 1.0, "answers": ["x"] * 50}

    found = session.interleave("x", ("a", "b"), once)
    assert "".join(order) == "abbaabba"
    assert len(found["a"]) == len(found["b"]) == 4
    assert session.runs["x, a"] == [{"wall": 1.0}] * 4  # long lists do not go into the record
    assert lean({"few": [1], "n": 2}) == {"few": [1], "n": 2}


def test_no_timing_where_the_sides_differ():
    session = Session("B1")
    session.equal("answers", {"a": ["x", "y"], "b": ["x", "y"]})
    assert session.equality == ["answers: 2 equal (a, b)"]
    with pytest.raises(BenchError, match="differ in answers at 1 of 2 places, first 1: 'y' and 'z'"):
        session.equal("answers", {"a": ["x", "y"], "b": ["x", "z"]})


def record(name="B1", noisy=False, started="2026-01-01T00:00:00Z", **more):
    session = Session(name)
    session.figure("ours ÷ theirs", median([2.0, 2.2, 1.4]), "×", Bar("≥", 1.5))
    session.figure("calls/s, theirs", 1234.5, "/s")
    session.figure("CPU", 0.7, "ms", Bar("≤", 0.6))
    return {
        "benchmark": name,
        "title": "a title",
        "started": started,
        "seconds": 12.3,
        "command": f"python -m benchmarks {name}",
        "quick": False,
        "repeats": 7,
        "machine": {"cores": 2, "processor": "A Processor", "memory_gb": 8, "system": "Linux", "python": "3.11.7"},
        "load": {"start": 0.1, "end": 1.0, "foreign_cores": 0.02},
        "noisy": noisy,
        "source": "abc",
        "versions": {"ours": {"python": "3.11.7", "promptology": "0.1.0"}, "dspy": {"dspy": "3.4.1"}},
        "equality": ["answers: 600 equal (dspy, ours)"],
        "figures": session.figures,
        "notes": ["a note"],
        "runs": {},
    } | more


def test_the_table_shows_what_was_recorded():
    text = table.text_of({"B16": record("B16"), "B2": record("B2", noisy=True)}, "abc")
    assert text.index("## B2") < text.index("## B16")
    assert "| B16 | ours ÷ theirs | 2 [1.4, 2.2] × | ≥ 1.5 | yes, narrowly | 2026-01-01 |" in text
    assert "| B2 | CPU | 0.7 ms | ≤ 0.6 | **no** | 2026-01-01 (noisy) |" in text
    assert "| calls/s, theirs | 1,234 /s |  |  |" in text
    assert "dspy (dspy 3.4.1)" in text
    assert "answers: 600 equal (dspy, ours)" in text
    assert "not the present one" not in text
    assert "not the present one" in table.text_of({"B2": record("B2")}, "another")


def test_the_newest_quiet_record_counts(tmp_path):
    made = [
        record(started="2026-01-01T00:00:00Z"),
        record(started="2026-01-02T00:00:00Z", title="newer"),
        record(started="2026-01-03T00:00:00Z", noisy=True),
        record(started="2026-01-04T00:00:00Z", quick=True),
        record("B2", started="2026-01-01T00:00:00Z", noisy=True),
    ]
    for n, one in enumerate(made):
        Path(tmp_path, f"{n}.json").write_text(json.dumps(one))
    counted = recording.that_count(recording.records(tmp_path))
    assert counted["B1"]["title"] == "newer"
    assert counted["B2"]["noisy"]


def test_a_side_that_fails_is_one_line():
    with pytest.raises(BenchError, match="bare, calls: failed with code 1: KeyError: 'questions'"):
        run_side("bare", "calls", {})
