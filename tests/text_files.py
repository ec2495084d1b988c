"""A tiny BERT classifier and a few reviews, as files: the smallest text run."""

WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] a the this film plot cast is was good bright warm bad dull cold very not ##ly"


def bert(folder):
    """Write a random BERT classifier of two layers with a tokenizer of its own."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizer

    torch.manual_seed(0)
    words = WORDS.split()
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=24,
        max_position_embeddings=128,
        id2label={0: "negative", 1: "positive"},
        label2id={"negative": 0, "positive": 1},
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    BertTokenizer(vocab={word: index for index, word in enumerate(words)}).save_pretrained(folder)
    return folder


def reviews(file):
    """Write eighty short reviews with their labels as CSV."""
    words = {"negative": ("bad", "dull", "cold"), "positive": ("good", "bright", "warm")}
    rows = [
        f"the {noun} is {'very ' * n_very}{word},{label}"
        for label in words
        for word in words[label]
        for noun in ("film", "plot", "cast")
        for n_very in range(5)
    ]
    file.write_text("\n".join(["sentence,label", *rows[:40], *rows[-40:]]) + "\n")
    return file
