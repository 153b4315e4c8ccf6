"""What each way to shorten vectors loses under exact search: `python -m semblance.benchmarks.projection`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import click
import numpy as np

from semblance.benchmarks.command import HOME
from semblance.benchmarks.exact_search import TOP, nearest, recall
from semblance.benchmarks.scenario import ScenarioError, Suite
from semblance.benchmarks.vectors import CATALOGUE, Vectors, embedder_of, home_of, item_of_query, item_of_row
from semblance.export.projection import fit

SIZES = (64, 128, 256, 384, 512)


def ways(vectors: Vectors) -> Iterator[tuple[str, Vectors]]:
    yield "none: 2048 numbers", vectors
    for size in SIZES:
        fitted = fit(vectors.others, size, whiten=False)
        yield f"{size}", vectors.projected(fitted)
        yield f"{size}, the whole vector scaled", vectors.projected(replace(fitted, kept=0))
        yield f"{size}, whitened", vectors.projected(fit(vectors.others, size, whiten=True))


@click.command()
@click.option("--count", default=CATALOGUE, show_default=True, help="Vectors in the catalogue.")
def main(count: int) -> None:
    """Say what each way to shorten vectors loses, under exact search."""
    try:
        vectors = Vectors.read(home_of(embedder_of(Suite.read(HOME / "scenarios.toml"))), count)
    except (ScenarioError, FileNotFoundError) as error:
        raise click.ClickException(f"{error}; `make bench BENCH=scale` makes the vectors") from None
    truth = nearest(vectors.catalogue, vectors.queries)
    items = item_of_query(np.arange(len(vectors.queries)))
    click.echo(f"{'projection':32} recall@{TOP}  first hit is the item")
    for name, short in ways(vectors):
        found = nearest(short.catalogue, short.queries)
        first = float(np.mean(item_of_row(found[:, 0]) == items))
        click.echo(f"{name:32} {recall(found, truth):9.4f}  {first:.4f}")


if __name__ == "__main__":
    main()
