"""The table of docs/LIMITS.md: which names of LoRA layers ComfyUI reads, by family, from the families' records.

python dev.py texts    writes it
"""

from __future__ import annotations

from pathlib import Path

from delta.families.record import Family
from delta.families.registry import families

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "LIMITS.md"
HEAD = ("| Family | ComfyUI's | kohya's | diffusers' |", "| --- | --- | --- | --- |")


def table() -> str:
    """The table, as Markdown."""
    return "\n".join([*HEAD, *sorted((_row(family) for family in families() if family.weights), key=str.lower)])


def _row(family: Family) -> str:
    kohya = "`lora_unet_`, also with diffusers' blocks" if family.whole_diffusers else "`lora_unet_`"
    return f"| {family.name} | `diffusion_model.` | {kohya} | {_diffusers(family)} |"


def _diffusers(family: Family) -> str:
    if not any(weight.parts for weight in family.weights):
        return "none known here"
    if family.diffusers_prefix is None:
        return "not read"
    count = sum(bool(weight.parts) for weight in family.weights)
    some = "" if count == len(family.weights) else ", of most layers"
    return f"`{family.diffusers_prefix}`{some}"


def with_table(text: str) -> str:
    """The page with the table in place of the one it has."""
    before, head, rest = text.partition(HEAD[0])
    if not head:
        raise ValueError(f"{PAGE.name} has no table that begins with {HEAD[0]}")
    _, gap, after = rest.partition("\n\n")
    return before + table() + gap + after


def main() -> None:
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
