"""A local model from the command line: what was chosen is said, what cannot be used is one line."""

from __future__ import annotations


def test_device_and_dtype_are_taken_and_said(cli, folders, colours_csv):
    done = cli(
        *("evaluate", "--task", colours_csv, "--model", f"hf:{folders('gpt2')}", "--readout", "label-likelihood"),
        *("--device", "cpu", "--dtype", "bfloat16", "--json"),
    )
    assert done.returncode == 0, done.stderr
    assert "gpt2: CausalModel on cpu, bfloat16, 48,352 parameters" in done.stderr
    done = cli("evaluate", "--task", colours_csv, "--model", f"hf:{folders('encoder')}", "--device", "tpu9")
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1].startswith("promptology: device 'tpu9' cannot be used")


def test_a_hub_id_without_network_ends_with_one_line(cli, colours_csv):
    done = cli("evaluate", "--task", colours_csv, "--model", "hf:someone/no-such", env={"HF_HUB_OFFLINE": "1"})
    assert done.returncode == 2
    assert "model someone/no-such is not on this machine and HF_HUB_OFFLINE is set" in done.stderr
