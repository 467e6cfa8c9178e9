r"""The same fine-tuning through transformers' Trainer and torch: an independent peer.

Same weights, texts, carve, length limit, batch size, epochs, AdamW with the same decay on kernels,
dropout, schedule and rate as `experiments/text/finetuning.py`; the draw of its head, its order and
its dropout bits are its own.

    python experiments/text/trainer_peer.py --task sst2 --model DIR --data DIR --rate 1e-4 \
        --out FILE.json

Needs torch, accelerate and transformers; DIR of --model is a Hugging Face folder.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import protocol
import torch  # noqa: TID251 - the peer
import transformers
from torch.utils.data import Dataset  # noqa: TID251 - the peer


class Texts(Dataset):
    """Tokenised texts with labels."""

    def __init__(self, texts, labels, tokenizer, max_length):
        """Tokenises all texts at once, without padding."""
        self.rows = tokenizer(texts, truncation=True, max_length=max_length)["input_ids"]
        self.labels = labels

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        return {"input_ids": self.rows[i], "labels": self.labels[i], "length": len(self.rows[i])}


def accuracy(found):
    """Share of right answers."""
    return {"accuracy": float((found.predictions.argmax(-1) == found.label_ids).mean())}


def finetune(asked, parts, seed):
    """One fine-tuning; returns the accuracy on the reported part and the wall time of training."""
    transformers.set_seed(seed)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        asked.model, num_labels=len(protocol.labels(parts)), torch_dtype=torch.float32
    )
    tokenizer = transformers.AutoTokenizer.from_pretrained(asked.model)
    train, judged = (
        Texts(*protocol.columns(parts, name), tokenizer, protocol.MAX_LENGTH)
        for name in ("train", "reported")
    )
    steps = protocol.EPOCHS * -(-len(train) // protocol.BATCH)
    with tempfile.TemporaryDirectory() as folder:
        trainer = transformers.Trainer(
            model=model,
            args=transformers.TrainingArguments(
                output_dir=folder,
                use_cpu=True,
                seed=seed,
                learning_rate=asked.rate,
                weight_decay=protocol.WEIGHT_DECAY,
                num_train_epochs=protocol.EPOCHS,
                per_device_train_batch_size=protocol.BATCH,
                per_device_eval_batch_size=64,
                warmup_steps=round(0.1 * steps),
                lr_scheduler_type="linear",
                max_grad_norm=protocol.CLIP,
                train_sampling_strategy="group_by_length",
                save_strategy="no",
                report_to=[],
                disable_tqdm=True,
                logging_strategy="no",
            ),
            train_dataset=train,
            eval_dataset=judged,
            processing_class=tokenizer,
            compute_metrics=accuracy,
        )
        began = time.monotonic()
        trainer.train()
        wall = time.monotonic() - began
        return trainer.evaluate()["eval_accuracy"], wall


def main():
    """Runs the seeds and reads the reported part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", choices=protocol.TASKS, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    torch.set_num_threads(2)
    runs, walls = {}, []
    for seed in protocol.SEEDS:
        parts = protocol.read(asked.data, asked.task, seed=seed)
        runs[seed], wall = finetune(asked, parts, seed)
        walls.append(wall)
        print("seed", seed, runs[seed], f"{wall:.0f} s", flush=True)
    asked.out.write_text(
        json.dumps(
            {
                "task": asked.task,
                "rate": asked.rate,
                "accuracy": runs,
                "median": float(np.median(list(runs.values()))),
                "train_wall_s": [round(w, 1) for w in walls],
                "median_wall_s": round(statistics.median(walls), 1),
                "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
            },
            indent=1,
        )
        + "\n"
    )


if __name__ == "__main__":
    main()
