"""A process that updates one agent: one of several trials, or a comparison of replays.

    python3 -m benchmarks.gpu.trial trial METHOD --work DIR
    python3 -m benchmarks.gpu.trial replay METHOD... --work DIR

`trial` prints a line when it is ready. For each line `BEGIN END` of times that it reads, it updates
from one to the other and prints its updates per second; for `memory` it prints the bytes in use on
the device. `replay` prints, for each method, updates per second with the replay on the device and
on the host.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import torch

from benchmarks.gpu import product
from benchmarks.gpu.sizes import sizes
from benchmarks.gpu.timing import interleaved_rates, synchronize


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("trial", "replay"))
    parser.add_argument("methods", nargs="+", metavar="METHOD")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    device = product.training_device()
    size = sizes(options.tiny)
    dataset = product.random_dataset(options.work / "dataset", size.transitions)
    network, batch = next(iter(size.networks.values())), size.batches[0]
    if options.what == "replay":
        for method in options.methods:
            _replay(product.config(method, network, batch), dataset, device, tiny=options.tiny)
        return
    settings = product.config(options.methods[0], network, batch)
    training = product.Training(settings, dataset, device, product.BFLOAT16)
    block = 2 if options.tiny else 32
    training.run(block + 4)
    synchronize(device)
    print("ready", flush=True)
    for line in sys.stdin:
        if line.strip() == "memory":
            print("memory", _memory_in_use(device), flush=True)
            continue
        start, end = map(float, line.split())
        time.sleep(max(0.0, start - time.time()))
        done, begun = 0, time.time()
        while time.time() < end:
            training.run(block)
            synchronize(device)
            done += block
        print("rate", done / (time.time() - begun), flush=True)


def _replay(
    settings: product.Config, dataset: product.Dataset, device: torch.device, *, tiny: bool
) -> None:
    size = sizes(tiny)
    training = product.Training(settings, dataset, device, product.BFLOAT16)
    host = product.HostReplay(settings, dataset, device)
    rates = interleaved_rates(
        {"device": training.run, "host": host.run},
        device,
        turns=size.turns,
        seconds=2 * size.turn_seconds,
        block=2 if tiny else 16,
    )
    for name, rate in rates.items():
        print(name, rate, flush=True)
    training.close()


def _memory_in_use(device: torch.device) -> int:
    """Bytes that all processes hold on the device, their contexts included."""
    if device.type == "cpu":
        return 0
    free, total = torch.cuda.mem_get_info()
    return total - free


if __name__ == "__main__":
    main()
