"""Small models of transformers, and real sentences for them; who imports it is skipped where an extra is missing."""

import collections
import os
import re

import numpy as np
import pytest

os.environ["TOKENIZERS_PARALLELISM"] = "false"
transformers = pytest.importorskip("transformers", reason="no transformers: it comes with the dev extra")
pytest.importorskip("accelerate", reason="no accelerate: it comes with the dev extra")

VOCAB = 30


def distilbert(kind="ForSequenceClassification", *, vocab=VOCAB, width=16, **options):
    """One layer, its weights drawn from torch's generator."""
    config = transformers.DistilBertConfig(
        vocab_size=vocab, dim=width, hidden_dim=width, n_layers=1, n_heads=2, max_position_embeddings=32, **options
    )
    return getattr(transformers, f"DistilBert{kind}")(config)


def banking77(folder, intents, vocab):
    """Sentences of some intents: rows without labels, labels 0, 1, ..., and a tokenizer of their commonest words."""
    parquet = pytest.importorskip("pyarrow.parquet")
    tokenizers = pytest.importorskip("tokenizers")
    path = folder / "banking77" / "train.parquet"
    if not path.exists():
        pytest.skip("no real data: INFOTORCH_DATA has no banking77")
    table = parquet.read_table(path)
    texts, y = np.array(table["text"].to_pylist()), table["label"].to_numpy()
    chosen = np.isin(y, intents)
    texts, y = texts[chosen].tolist(), np.searchsorted(intents, y[chosen])
    words = collections.Counter(word for text in texts for word in re.findall(r"\w+|[^\w\s]", text.lower()))
    common = sorted(words, key=lambda word: (-words[word], word))[: vocab - 2]
    vocabulary = {word: n for n, word in enumerate(["[PAD]", "[UNK]", *common])}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.normalizer = tokenizers.normalizers.Lowercase()
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]")
    return [dict(fast(text, truncation=True, max_length=24)) for text in texts], y, fast
