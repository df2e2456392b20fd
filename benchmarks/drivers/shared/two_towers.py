"""What the sides of the benchmarks on CLIP share: models with random weights, classes, images, a measured step."""

import tiny
import torch
import transformers

RATE = 1e-2
TUNED = 5e-3  # at test time
START, FULL_STOP, END = 1, 4, 3  # an end of 2 would be read as the highest token, as in old folders
FIRST = 10  # smaller tokens are left to the special ones
SCALE = 100.0


def model_of(shape, seed=0):
    """Return a frozen CLIP of a shape: (width, layers, heads) of both towers, pixels, patch, positions, vocabulary."""
    torch.set_num_threads(1)
    transformers.utils.logging.set_verbosity_error()
    torch.manual_seed(seed)
    towers = {}
    for name in ("text", "vision"):
        width, layers, heads = shape[name]
        towers[name] = {"hidden_size": width, "intermediate_size": 4 * width}
        towers[name] |= {"num_hidden_layers": layers, "num_attention_heads": heads}
    special = {"pad_token_id": 0, "bos_token_id": START, "eos_token_id": END}
    positions = {"max_position_embeddings": shape["positions"], "vocab_size": shape["vocab"]}
    config = transformers.CLIPConfig(
        text_config={**towers["text"], **positions, **special},
        vision_config={**towers["vision"], "image_size": shape["px"], "patch_size": shape["patch"]},
        projection_dim=shape["text"][0],
    )
    return transformers.CLIPModel(config).eval().requires_grad_(False)


def rows_of(case):
    """Return the tokens of all classes: an opening, places for a context, a name of 1 to 3 tokens, a stop, an end."""
    made = torch.Generator().manual_seed(3)
    rows = []
    for _ in range(case["classes"]):
        length = int(torch.randint(1, 4, (1,), generator=made))
        name = torch.randint(FIRST, case["shape"]["vocab"], (length,), generator=made).tolist()
        rows.append([START, *[FIRST] * case["length"], *name, FULL_STOP, END])
    return rows


def parameters_of(case):
    """Return what is learned: by kind, vectors at each depth, and maps or the two layers of a network of the image."""
    width, wide = case["shape"]["text"][0], case["shape"]["vision"][0]
    depth = case.get("depth", 1)
    vectors = [tiny.start_of((case["length"], width), n, scale=0.02) for n in range(depth)]
    more = []
    if case["kind"] == "maple":
        more = [tiny.start_of((wide, width), 50 + n, scale=width**-0.5) for n in range(depth)]
    if case["kind"] == "cocoop":
        low = max(1, width // 16)
        more = [tiny.start_of((low, width), 50, scale=0.1), tiny.start_of((width, low), 51, scale=0.1)]
    return [torch.nn.Parameter(one) for one in vectors], [torch.nn.Parameter(one) for one in more]


def batches_of(case, count):
    """Return (numbers of the images, labels) of each step."""
    made = torch.Generator().manual_seed(4)
    images = torch.arange(case["batch"])
    return [(images, torch.randint(case["classes"], (case["batch"],), generator=made)) for _ in range(count)]


def images_of(case):
    """Return the pixels of all images."""
    px, made = case["shape"]["px"], torch.Generator().manual_seed(5)
    return torch.randn(case["batch"], 3, px, px, generator=made)


def losses(spec, stopwatch, prepare):
    """Train every case for some steps; return the losses, and the peak memory of a step in MB."""
    found, held = {}, {}
    for name, case in spec["cases"].items():
        watch = tiny.Memory(2)
        loss, parameters = prepare(case)
        batches = batches_of(case, spec["steps"])
        with stopwatch.running():
            found[name] = tiny.train(loss, parameters, batches, RATE, before=watch.before, after=watch.after)
        held[name] = watch.median()
    return {"losses": found, "mb": held}


def steps(spec, stopwatch, prepare):
    """Return processor milliseconds of a training step of every case, warmed up."""
    found = {}
    for name, case in spec["cases"].items():
        loss, parameters = prepare(case)
        batches = batches_of(case, spec["warm"] + case["steps"])
        tiny.train(loss, parameters, batches[: spec["warm"]], RATE)
        before = stopwatch.cpu
        with stopwatch.running():
            tiny.train(loss, parameters, batches[spec["warm"] :], RATE)
        found[name] = 1000 * (stopwatch.cpu - before) / case["steps"]
    return {"ms": found}


def answers(spec, prepare):
    """Return the cosines of the image of every case with its classes, after it was adapted to."""
    return {"cosines": {name: prepare(case)().tolist() for name, case in spec["cases"].items()}}


def images(spec, stopwatch, prepare):
    """Return processor milliseconds of one image of every case, warmed up on few classes."""
    found = {}
    for name, case in spec["cases"].items():
        prepare({**case, "classes": 4})()
        adapt = prepare(case)
        before = stopwatch.cpu
        with stopwatch.running():
            adapt()
        found[name] = 1000 * (stopwatch.cpu - before)
    return {"ms": found}
