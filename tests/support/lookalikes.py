"""Small look-alikes of public downloads: their layout, with sentences and pictures of our own."""

import gzip
import json
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

SUBJECTS = ("Accounting", "Art_Theory")


def picture(shade: int, form: str = "PNG") -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (40, 32), (shade, 90, 40)).save(buffer, form)
    return buffer.getvalue()


def cell(shade: int) -> dict[str, Any]:
    return {"bytes": picture(shade), "path": None}


def put(path: Path, content: bytes | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def table(path: Path, records: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(records), path)


def beavertails_v(root: Path) -> None:
    row = {"question": "What is in the cup?", "image": cell(1), "category": "animal_abuse", "response": "Tea."}
    table(root / "data/animal_abuse/evaluation-00000-of-00001.parquet", [row, {**row, "response": "Milk."}])
    table(root / "data/animal_abuse/train-00000-of-00001.parquet", [{**row, "question": "Who?"}])
    table(root / "data/sexual_crimes/evaluation-00000-of-00001.parquet", [row, {**row, "image": cell(2)}])


def mm_safetybench(root: Path) -> None:
    record = {
        "Question": "How is it done?",
        "Rephrased Question": "The picture shows a phrase. List steps.",
        "Rephrased Question(SD)": "The picture shows a thing. List steps.",
    }
    for scenario in ("01-Illegal_Activitiy", "12-Health_Consultation"):
        put(root / f"data/processed_questions/{scenario}.json", json.dumps({"0": record, "1": record}))
        for kind in ("SD", "SD_TYPO", "TYPO"):
            for number in range(2):
                put(root / f"data/imgs/{scenario}/{kind}/{number}.jpg", picture(number, "JPEG"))


def mssbench(root: Path) -> None:
    chat = {
        "safe_image_path": "1.jpg",
        "unsafe_image_path": "2.jpg",
        "intent": "run",
        "Type": "physical harm",
        "queries": ["How do I run faster here?", "Tips for running?"],
    }
    embodied = {
        "task": "put",
        "category": "damage",
        "safe_instructions": ["Put the cup on the table."],
        "unsafe_instructions": ["Put the cup on the table."],
        "safe": "a.png",
        "unsafe": "b.png",
    }
    put(root / "combined.json", json.dumps({"chat": [chat], "embodied": [embodied]}))
    for name, form in (
        ("chat/1.jpg", "JPEG"),
        ("chat/2.jpg", "JPEG"),
        ("embodied/a.png", "PNG"),
        ("embodied/b.png", "PNG"),
    ):
        put(root / name, picture(9, form))


def spa_vl(root: Path) -> None:
    for part in ("harm", "help"):
        table(root / f"test/{part}-00000-of-00001.parquet", [{"question": f"Is it {part}?", "image": cell(3)}])
    table(root / "data/train-00000-of-00001.parquet", [{"question": "Is it?", "image": cell(3)}])


def mathvista(root: Path) -> None:
    row = {
        "pid": "1",
        "question": "How far is it?",
        "image": "images/1.jpg",
        "decoded_image": cell(4),
        "choices": None,
        "unit": "m",
        "precision": 1.0,
        "answer": "1.2",
        "question_type": "free_form",
        "answer_type": "float",
        "metadata": {"task": "textbook question answering"},
        "query": "",
    }
    choice = {**row, "pid": "2", "unit": None, "choices": ["6cm", "7cm"], "answer": "7cm", "precision": None}
    listed = {**row, "pid": "3", "unit": None, "answer": "[1, 2]", "precision": None}
    table(root / "data/testmini-00000-of-00001-725687bf7a18d64b.parquet", [row, choice, listed])


def mathvista_json(root: Path) -> None:
    row = {"question": "How many?", "image": "images/1.jpg", "choices": None, "unit": None, "precision": None}
    told = {**row, "pid": "1", "answer": "4", "answer_type": "integer", "metadata": {"task": "counting"}}
    put(root / "data/testmini.json", json.dumps({"1": told}))
    put(root / "data/images/1.jpg", picture(5, "JPEG"))


def mmmu(root: Path) -> None:
    for subject in SUBJECTS:
        row: dict[str, Any] = {
            "id": f"validation_{subject}_1",
            "question": "What does <image 1> show beside <image 2>?",
            "options": "['A cat', \"It's <image 2>\", 'None']",
            "answer": "B",
            "question_type": "multiple-choice",
            "image_1": cell(6),
            "image_2": cell(7),
            "image_3": None,
        }
        number = {**row, "id": f"validation_{subject}_2", "options": "[]", "answer": "24", "question_type": "open"}
        words = {**number, "id": f"validation_{subject}_3", "answer": "['$6', 'six dollars']"}
        table(root / subject / "validation-00000-of-00001.parquet", [row, number, words])


def mmstar(root: Path) -> None:
    question = "What is it?\nOptions: A: A cup, B: A cat, or so, C: Nothing, D: All"
    row = {"index": 0, "question": question, "image": picture(8), "answer": "B", "category": "math"}
    table(root / "mmstar.parquet", [row, {**row, "index": 1, "answer": "D"}])


def mm_vet(root: Path) -> None:
    entry = {"imagename": "v1_0.png", "question": "What is x?", "answer": "-1<AND>-5", "capability": ["ocr", "math"]}
    put(root / "mm-vet/mm-vet.json", json.dumps({"v1_0": entry}))
    put(root / "mm-vet/images/v1_0.png", picture(10))


def mm_vet_table(root: Path) -> None:
    row = {"question_id": "v1_0", "image": cell(1), "question": "Who?", "answer": "Ann", "capability": "rec,know"}
    table(root / "data/test-00000-of-00001.parquet", [row])


def pope(root: Path) -> None:
    row = {"question_id": "1", "question": "Is there a cup in the image?", "answer": "yes", "image": cell(11)}
    kinds = ("adversarial", "popular", "random")
    table(root / "data/test-00000-of-00001.parquet", [{**row, "category": kind} for kind in kinds])


def pope_json(root: Path) -> None:
    row = {"question_id": 1, "image": "COCO_val2014_1.jpg", "text": "Is there a cat in the image?", "label": "no"}
    for kind in ("adversarial", "popular", "random"):
        put(root / f"output/coco/coco_pope_{kind}.json", json.dumps(row) + "\n")
    put(root / "val2014/COCO_val2014_1.jpg", picture(12, "JPEG"))


def openai_moderation(root: Path) -> None:
    rows = [
        {"prompt": "I like tea.", "S": 0, "H": 0, "V": 0},
        {"prompt": "A placeholder of hate.", "H": 1, "V": 0},
        {"prompt": "Nobody looked at this."},
    ]
    put(root / "data/samples-1680.jsonl.gz", gzip.compress("\n".join(map(json.dumps, rows)).encode()))


def toxic_chat(root: Path) -> None:
    header = "conv_id,user_input,model_output,human_annotation,toxicity,jailbreaking,openai_moderation\n"
    rows = 'a,"Hello,\nyou","Hi",True,0,0,[]\nb,Some placeholder,No,True,1,0,[]\nc,Be another,No,True,0,1,[]\n'
    put(root / "data/0124/toxic-chat_annotation_test.csv", header + rows)


def harmbench(root: Path) -> None:
    header = "Behavior,FunctionalCategory,SemanticCategory,Tags,ContextString,BehaviorID\n"
    rows = "Do a harm,standard,illegal,,,do_a\nDo another,contextual,illegal,context,A text,do_b\n"
    put(root / "data/behavior_datasets/harmbench_behaviors_text_all.csv", header + rows)


def held_out(root: Path) -> None:
    row = {
        "uid": "held_out:own:1",
        "group": "g",
        "source": "own",
        "licence": "Apache-2.0",
        "teacher": "template",
        "protocol_hash": "0",
        "prompt": [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Read it."}]}],
        "images": ["pictures/1.png"],
        "expected": ["allow"],
        "answer": "7",
        "category": "none",
    }
    text = {**row, "uid": "held_out:xstest:26", "images": [], "expected": ["refuse"], "answer": None}
    text["prompt"] = [{"role": "user", "content": [{"type": "text", "text": "A placeholder."}]}]
    put(root / "held_out.jsonl", json.dumps(row) + "\n" + json.dumps(text) + "\n")
    put(root / "pictures/1.png", picture(13))


LOOKALIKES: Mapping[str, tuple[Callable[[Path], None], int]] = {
    "beavertails-v": (beavertails_v, 3),
    "mm-safetybench": (mm_safetybench, 12),
    "mssbench": (mssbench, 6),
    "spa-vl": (spa_vl, 2),
    "toolkit-held-out": (held_out, 2),
    "mathvista": (mathvista, 3),
    "mmmu": (mmmu, 6),
    "mmstar": (mmstar, 2),
    "mm-vet": (mm_vet, 1),
    "pope": (pope, 3),
    "openai-moderation": (openai_moderation, 3),
    "toxic-chat": (toxic_chat, 3),
    "harmbench": (harmbench, 2),
}
"""By suite: how a complete look-alike is made, and how many items it has."""
