r"""The same fine-tuning through transformers' Trainer and torch: an independent peer.

Same weights, texts, length limit, mean over the tokens, batch size, epochs, AdamW with the same
decay on kernels, dropout, schedule and rate as `experiments/text/finetuning.py`; the draw of its
head, its order and its dropout bits are its own.

    python experiments/text/trainer_peer.py --task sst2 --model DIR --data DIR --rate 1e-4 \
        --epochs 2 --out FILE.json

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


class MeanPooled(torch.nn.Module):
    """An encoder, the mean over its tokens, dropout and a linear head: transformers has none."""

    def __init__(self, model, classes):
        """Loads the encoder and draws the head."""
        super().__init__()
        self.encoder = transformers.AutoModel.from_pretrained(
            model, torch_dtype=torch.float32, add_pooling_layer=False
        )
        width = self.encoder.config.hidden_size
        self.dropout = torch.nn.Dropout(0.1)
        self.dense = torch.nn.Linear(width, classes)
        torch.nn.init.trunc_normal_(self.dense.weight, std=width**-0.5)
        torch.nn.init.zeros_(self.dense.bias)

    def forward(self, input_ids, attention_mask, labels=None):
        """Computes the logits, and the loss where there are labels."""
        found = self.encoder(input_ids=input_ids, attention_mask=attention_mask)
        real = attention_mask[..., None].to(torch.float32)
        pooled = (found.last_hidden_state * real).sum(1) / real.sum(1)
        logits = self.dense(self.dropout(pooled))
        if labels is None:
            return {"logits": logits}
        return {"loss": torch.nn.functional.cross_entropy(logits, labels), "logits": logits}


def accuracy(found):
    """Share of right answers."""
    return {"accuracy": float((found.predictions.argmax(-1) == found.label_ids).mean())}


def finetune(asked, parts, seed):
    """One fine-tuning; returns the accuracy on the reported part and the wall time of training."""
    transformers.set_seed(seed)
    model = MeanPooled(asked.model, len(protocol.labels(parts)))
    tokenizer = transformers.AutoTokenizer.from_pretrained(asked.model)
    train, judged = (
        Texts(*protocol.columns(parts, name), tokenizer, protocol.MAX_LENGTH)
        for name in ("whole", "reported")
    )
    steps = asked.epochs * -(-len(train) // protocol.BATCH)
    with tempfile.TemporaryDirectory() as folder:
        trainer = transformers.Trainer(
            model=model,
            args=transformers.TrainingArguments(
                output_dir=folder,
                use_cpu=True,
                seed=seed,
                learning_rate=asked.rate,
                weight_decay=protocol.WEIGHT_DECAY,
                num_train_epochs=asked.epochs,
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
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    torch.set_num_threads(2)
    runs, walls = {}, []
    for seed in protocol.SEEDS:
        parts = protocol.read(asked.data, asked.task)
        runs[seed], wall = finetune(asked, parts, seed)
        walls.append(wall)
        print("seed", seed, runs[seed], f"{wall:.0f} s", flush=True)
    asked.out.write_text(
        json.dumps(
            {
                "task": asked.task,
                "rate": asked.rate,
                "epochs": asked.epochs,
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
