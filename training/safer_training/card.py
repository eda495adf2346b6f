"""The model card of a checkpoint: how it was made, what it scored, what it cannot do."""

from pathlib import Path

from safer_training.evaluate import Evaluation, to_json, to_markdown
from safer_training.stamp import Stamp

_CARD = """---
license: apache-2.0
pipeline_tag: image-text-to-text
library_name: transformers
---
# A small SaFeR checkpoint

A demonstration of protocol and plumbing, **not of safety**. It is a real Qwen2.5-VL (the transformers class) of about five
million parameters, made from nothing on one CPU core, so that a newcomer without a GPU sees plans, verified traces and answers
come out of a model. Do not guard anything with it: use a trained model of billions of parameters.

## How it was made

- `safer checkpoint build`: random weights, a byte-level BPE of 4,096 tokens with Qwen's pre-tokenizer, special tokens and layout.
- `safer train letters`: the vision tower learns which characters lie in each 28 x 28 pixels of pictures that we draw.
- `safer train sft` with the recipe `tiny-cpu`: the language model learns text and, through the same vectors, typed pictures;
  then `tiny-cpu-spelling`: its lower layers learn to name the words in pictures; then `tiny-cpu-joint`: drawn pictures through the
  tower, and text.
- `safer train all` with the recipe `tiny-cpu` on built rows: SFT on whole replies, DPO, GRPO.
- Targets are written by a deterministic teacher from the labels of rows (category, decision) and verified one by one. No harmful
  answer is part of them. Answers are short templates.
- Stage `{stage}`, recipe `{recipe}`, {steps} steps of fine-tuning. Protocol `{protocol}`. Rows `{data}` (SHA-256).

Training rows come from AART and AILuminate's demo set (CC-BY-4.0), CatQA, HarmfulQA, DangerousQA, self-instruct, MT-bench and
Vicuna-bench (Apache-2.0), AdvBench, StrongREJECT, MultiJail, CyberSecEval, CoCoNot, SafeText and GSM8K (MIT), CLINC OOS
(CC-BY-3.0), and from the project's own generator. XSTest, FigStep and JailbreakBench were held out whole.

## What it scored

Per cent. *Accuracy* counts any way of holding back as right where allowing is wrong; *strict* wants an expected decision.
*Over-refusal*: wrong decisions where allowing was right. *Miss*: the others let through. Development rows come from the same
sources as training rows, so many are recognised by their style; what was held out whole tells more. TF-IDF is words and
characters with logistic regression on the same training rows; it reads the text of a request, also where the checkpoint has only
a picture of it. The generator's contrast pairs were written with over-refusal tests such as XSTest in mind, none was copied.

{figures}
## What it cannot do

- Know anything: an allowed answer is a template with a pointer, not an answer.
- Judge what is phrased unlike its training rows: on the held-out sets it is near word statistics, or below.
- Read well: {reading}
- Any language but English; long conversations; several pictures at once; attacks of any skill.
"""


_STAGE_CARD = """---
license: apache-2.0
pipeline_tag: image-text-to-text
library_name: transformers
---
# A SaFeR checkpoint after the stage `{stage}`

- Recipe `{recipe}` (in `recipe.yaml`), {rows} rows with SHA-256 `{data}`, {steps} steps in all stages together.
- Protocol `{protocol}`: a server of another protocol refuses this checkpoint.

It has not been measured yet: `safer train evaluate` or the report of `safer train all` says what it can do. Until then it guards
nothing.
"""


def write_stage_card(directory: Path, stamp: Stamp, rows: int) -> None:
    """Write the `README.md` of a checkpoint that nothing has measured."""
    text = _STAGE_CARD.format(
        stage=stamp.stage,
        recipe=stamp.recipe,
        rows=rows,
        data=stamp.data_hash,
        steps=stamp.steps,
        protocol=stamp.protocol_hash,
    )
    (directory / "README.md").write_text(text)


def write_card(directory: Path, stamp: Stamp, evaluation: Evaluation) -> None:
    """Write `README.md` and `evaluation.json` into a checkpoint's directory."""
    (directory / "evaluation.json").write_text(to_json(evaluation))
    drawn = [one for one in evaluation.pictures if one.checkpoint.balanced is not None]
    read = "; ".join(f"{one.name}: {100 * (one.checkpoint.balanced or 0):.0f} % balanced accuracy" for one in drawn)
    text = _CARD.format(
        stage=stamp.stage,
        recipe=stamp.recipe,
        steps=stamp.steps,
        protocol=stamp.protocol_hash[:12],
        data=(stamp.data_hash or "none")[:12],
        figures=to_markdown(evaluation),
        reading=f"{read} (50 is chance)." if read else "it was not measured on pictures.",
    )
    (directory / "README.md").write_text(text)
