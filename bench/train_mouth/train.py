"""Train the sound-to-mouth network on what make_data wrote, and write its weights.

python -m bench.train_mouth.train DATA.npz OUT.npz [--seed 1]    (needs torch; some minutes on one core)
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import nn

from pipeline.lipsync.warp.speech_features import BANDS, FLOOR
from pipeline.lipsync.warp.speech_net import AHEAD, HIDDEN, STATE

WEIGHT = torch.tensor([3.0, 1.0, 1.0, 1.0, 2.0])  # of each output's error
LONGEST = 600  # steps


class Net(nn.Module):
    def __init__(self, inputs: int, hidden: int = HIDDEN, state: int = STATE) -> None:
        super().__init__()
        self.enter = nn.Linear(inputs, hidden)
        self.gru = nn.GRU(hidden, state, batch_first=True)
        self.leave = nn.Linear(state, 5)

    def forward(self, x: torch.Tensor, drop: float = 0.0) -> torch.Tensor:
        seen = torch.relu(self.enter(x))
        out, _ = self.gru(nn.functional.dropout(seen, drop, self.training))
        return self.leave(nn.functional.dropout(out, drop, self.training))


def stack(heard: torch.Tensor) -> torch.Tensor:
    """(batch, m, BANDS) -> (batch, m // 2, inputs): the rows that each step hears."""
    first, last = AHEAD
    padded = torch.nn.functional.pad(heard, (0, 0, 0, last), value=FLOOR)
    windows = padded.unfold(1, last - first, 1).transpose(2, 3)  # (batch, m + .., rows, BANDS)
    steps = heard.shape[1] // 2
    return windows[:, first : first + 2 * steps : 2].reshape(heard.shape[0], steps, -1)


def vary(x: torch.Tensor) -> torch.Tensor:
    """Other throats, microphones and rooms than the few of the data: (batch, m, BANDS) levelled mels, each its own way.

    The bands are stretched by up to 18 % and moved by up to one (vocal tract length, Jaitly & Hinton 2013), weighted by
    a smooth curve, moved in level, and at times cut off at a floor, as noise does.
    """
    count = len(x)
    place = torch.arange(BANDS) * torch.empty(count, 1).uniform_(0.85, 1.18) + torch.empty(count, 1).uniform_(-1, 1)
    place = place.clamp(0, BANDS - 1.001)
    low = place.long()
    part = (place - low)[:, None, :]
    index = low[:, None, :].expand(-1, x.shape[1], -1)
    x = torch.gather(x, 2, index) * (1 - part) + torch.gather(x, 2, index + 1) * part
    curve = nn.functional.interpolate(torch.randn(count, 1, 5) * 0.9, size=BANDS, mode="linear", align_corners=True)
    x = x + curve + torch.randn(count, 1, 1) * 0.4 + torch.randn_like(x) * 0.25
    floor = torch.empty(count, 1, 1).uniform_(FLOOR - 4, -3.5).clamp(min=FLOOR)
    return torch.maximum(x, floor + torch.randn_like(x) * 0.3 * (floor > FLOOR)).clamp(min=FLOOR)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--drop", type=float, default=0.15)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    rng = np.random.default_rng(args.seed)
    with np.load(args.data, allow_pickle=False) as file:
        inputs, wanted, steps = file["inputs"], file["wanted"], file["steps"]
    ends = np.cumsum(steps)
    pairs = [
        (
            torch.from_numpy(inputs[2 * (e - n) : 2 * (e - n) + 2 * min(n, LONGEST)].astype(np.float32)),
            torch.from_numpy(wanted[e - n : e - n + min(n, LONGEST)].astype(np.float32)),
        )
        for n, e in zip(steps, ends, strict=True)
    ]
    held, train = pairs[::20], [p for i, p in enumerate(pairs) if i % 20]

    def batch(group: list[tuple[torch.Tensor, torch.Tensor]]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        x = nn.utils.rnn.pad_sequence([g[0] for g in group], batch_first=True, padding_value=FLOOR)
        y = nn.utils.rnn.pad_sequence([g[1] for g in group], batch_first=True)
        mask = nn.utils.rnn.pad_sequence([torch.ones(len(g[1])) for g in group], batch_first=True)
        return x, y, mask

    net = Net((AHEAD[1] - AHEAD[0]) * BANDS)
    batches = len(train) // 24
    optimiser = torch.optim.AdamW(net.parameters(), lr=4e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=args.epochs * batches, pct_start=0.15)

    def error(x: torch.Tensor, y: torch.Tensor, mask: torch.Tensor, drop: float) -> torch.Tensor:
        off = ((net(stack(x), drop) - y) ** 2 * WEIGHT).sum(-1)
        return (off * mask).sum() / mask.sum()

    for epoch in range(args.epochs):
        net.train()
        order = sorted(rng.permutation(len(train)).tolist(), key=lambda i: len(train[i][1]) // 40)
        groups = [order[i * 24 : (i + 1) * 24] for i in range(batches)]
        total = 0.0
        for at in rng.permutation(batches):
            x, y, mask = batch([train[i] for i in groups[at]])
            loss = error(vary(x), y, mask, args.drop)
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            total += loss.item()
        net.eval()
        with torch.no_grad():
            x, y, mask = batch(held)
            out = net(stack(x))
            real = mask.bool()
            fits = [float(np.corrcoef(out[..., i][real], y[..., i][real])[0, 1]) for i in range(5)]
            print(
                f"{epoch + 1}: {total / batches:.4f} held out {error(x, y, mask, 0):.4f}",
                " ".join(f"{f:.3f}" for f in fits),
                flush=True,
            )
    named = {
        "enter": net.enter.weight.T,
        "enter_bias": net.enter.bias,
        "input": net.gru.weight_ih_l0.T,
        "input_bias": net.gru.bias_ih_l0,
        "state": net.gru.weight_hh_l0.T,
        "state_bias": net.gru.bias_hh_l0,
        "leave": net.leave.weight.T,
        "leave_bias": net.leave.bias,
    }
    np.savez_compressed(args.out, **{k: v.detach().numpy().astype(np.float16) for k, v in named.items()})


if __name__ == "__main__":
    main()
