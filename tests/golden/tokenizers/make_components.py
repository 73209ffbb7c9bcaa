#!/usr/bin/env python3
"""Small tokenizers, one a component, and what Hugging Face's tokenizers (0.23.3) makes of some texts.

    make_components.py > components.json

Each case: the tokenizer.json document, and for each text its ids without special tokens, with them, and the text
decoded from the former.
"""
import json
import sys
from tokenizers import Tokenizer

TEXTS = ["", " ", "ab", " ab  abc", "He's  12345 \n ok!", "caf\u00e9 A\u030a \u212b \ufb01", "\u4f60\u597d, w\u00f6rld 3\u00b2",
         "<s> ab</s>x <mask> b", "\u0130\u1e9e\u017f Stra\u00dfe", "\U0001f468\u200d\U0001f469 \uff71\uff9e \u3000z",
         "a\tb\u00a0c\u2028d\u0085e", "abababab aaaa bb.c,d", "\u2581a \u2581 \u0120b ##c", "nul\u0000 \u0001\ufeff\ufffd"]
LETTERS = sorted(set("".join(TEXTS)) - {"\u0000"})
ADDED = [dict(id=1, content="<s>", single_word=False, lstrip=False, rstrip=False, normalized=False, special=True),
         dict(id=2, content="</s>", single_word=False, lstrip=False, rstrip=True, normalized=True, special=True),
         dict(id=3, content="<mask>", single_word=False, lstrip=True, rstrip=False, normalized=False, special=False)]
BYTES = [f"<0x{i:02X}>" for i in range(256)]
SMALL = ["a", "b", "c", "e", "l", "o", "1", "2", "3", "é", "你", " ", "▁", "Ġ", "s", "'", "H", "w"]
MERGES = [["a", "b"], ["ab", "ab"], ["▁", "ab"], ["Ġ", "ab"], ["ab", "c"], ["a", "a"], ["▁", "a"], ["l", "d"]]


def vocab(tokens):
    table = {}
    for token in ["<unk>", "<s>", "</s>", "<mask>"] + tokens:
        table.setdefault(token, len(table))
    return table


def bpe(letters=SMALL, prefix="", suffix="", **options):
    tokens, merges = list(letters), []
    tokens += [prefix + x for x in letters] + [x + suffix for x in letters] + [prefix + x + suffix for x in letters]
    for a, b in MERGES:
        for left, right in {(a, prefix + b), (a, prefix + b + suffix)}:
            if left in tokens and right in tokens:
                merges.append([left, right])
                tokens.append(left + right[len(prefix):])
    model = dict(type="BPE", dropout=None, unk_token="<unk>", continuing_subword_prefix=prefix or None,
                 end_of_word_suffix=suffix or None, fuse_unk=False, byte_fallback=False, ignore_merges=False)
    tokens += options.pop("more", [])
    return {**model, **options, "vocab": vocab(tokens), "merges": sorted(merges)}


def unigram(more=(), **options):
    pieces = [["<unk>", 0.0], ["<s>", 0.0], ["</s>", 0.0], ["<mask>", 0.0]]
    pieces += [[x, -2.5 - i % 3] for i, x in enumerate(SMALL)] + [["ab", -2.0], ["▁ab", -2.5], ["bab", -4.0], ["▁a", -4.5]]
    return dict(type="Unigram", unk_id=0, byte_fallback=False, vocab=pieces + [[x, -9.0] for x in more], **options)


def words():
    return dict(type="WordLevel", unk_token="<unk>", vocab=vocab(["ab", "abc", "b", "a", ".", ",", "12345", "ok", "!"]))


def pieces():
    return dict(type="WordPiece", unk_token="<unk>", continuing_subword_prefix="##", max_input_chars_per_word=7,
                vocab=vocab(SMALL + ["ab", "abc", "##ab", "##b", "##c", "##s", "!", "cafe"]))


def regex(pattern, behavior, invert=False):
    return dict(type="Split", pattern={"Regex": pattern}, behavior=behavior, invert=invert)


def sequence(kind, *parts):
    return {"type": "Sequence", kind: list(parts)}


TEMPLATE = dict(type="TemplateProcessing", single=[{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                {"SpecialToken": {"id": "</s>", "type_id": 0}}], pair=[{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
                special_tokens={"<s>": dict(id="<s>", ids=[1], tokens=["<s>"]), "</s>": dict(id="</s>", ids=[2], tokens=["</s>"])})
GPT2_LETTERS = [chr(i) for i in [*range(33, 127), *range(161, 173), *range(174, 256), *range(256, 324)]]


def cases():
    byte_level = dict(type="ByteLevel", add_prefix_space=False, trim_offsets=True, use_regex=True)
    llama = sequence("normalizers", dict(type="Prepend", prepend="▁"), dict(type="Replace", pattern={"String": " "}, content="▁"))
    undo = sequence("decoders", dict(type="Replace", pattern={"String": "▁"}, content=" "), dict(type="ByteFallback"), dict(type="Fuse"),
                    dict(type="Strip", content=" ", start=1, stop=0))
    yield "gpt2", bpe(GPT2_LETTERS), dict(pre_tokenizer=byte_level, decoder=byte_level, post_processor=byte_level)
    yield "llama", bpe(byte_fallback=True, fuse_unk=True, more=BYTES), dict(normalizer=llama, decoder=undo, post_processor=TEMPLATE)
    yield "clip", bpe(suffix="</w>"), dict(
        normalizer=sequence("normalizers", dict(type="NFC"), dict(type="Replace", pattern={"Regex": "\\s+"}, content=" "), dict(type="Lowercase")),
        pre_tokenizer=regex("'s|[\\p{L}]+|[\\p{N}]|[^\\s\\p{L}\\p{N}]+", "Removed", True), decoder=dict(type="BPEDecoder", suffix="</w>"),
        post_processor=dict(type="RobertaProcessing", sep=["</s>", 2], cls=["<s>", 1], trim_offsets=True, add_prefix_space=False))
    yield "bpe prefix", bpe(prefix="##", fuse_unk=True), dict(pre_tokenizer=dict(type="Whitespace"), decoder=dict(type="WordPiece", prefix="##", cleanup=True))
    yield "ignore merges", bpe(ignore_merges=True, more=["abababab", "12345"]), dict(pre_tokenizer=dict(type="WhitespaceSplit"))
    yield "t5", unigram(), dict(pre_tokenizer=dict(type="Metaspace", replacement="▁", prepend_scheme="always", split=True),
                                decoder=dict(type="Metaspace", replacement="▁", prepend_scheme="always", split=True), post_processor=TEMPLATE)
    yield "unigram bytes", {**unigram(BYTES), "byte_fallback": True}, dict(
        pre_tokenizer=dict(type="Metaspace", replacement="▁", prepend_scheme="first", split=False), decoder=dict(type="ByteFallback"))
    for lower in (True, False):
        bert = dict(type="BertNormalizer", clean_text=True, handle_chinese_chars=True, strip_accents=None, lowercase=lower)
        yield "bert", pieces(), dict(normalizer=bert, pre_tokenizer=dict(type="BertPreTokenizer"), decoder=dict(type="WordPiece", prefix="##", cleanup=False),
                                     post_processor=dict(type="BertProcessing", sep=["</s>", 2], cls=["<s>", 1]))
    for kind in ("NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "Nmt", "ByteLevel"):
        yield kind, bpe(LETTERS), dict(normalizer=dict(type=kind))
    yield "strip", bpe(LETTERS), dict(normalizer=dict(type="Strip", strip_left=True, strip_right=False))
    for behavior in ("Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"):
        for invert in (False, True):
            yield "split", words(), dict(pre_tokenizer=regex("[a-c]+|\\s", behavior, invert))
        yield "punctuation", words(), dict(pre_tokenizer=dict(type="Punctuation", behavior=behavior))
    for pattern in ("\\w+|[^\\w\\s]+", "\\p{N}{1,3}+", "\\h", "a*", "(?i:'S|ST)", "^.", "[[:punct:]]|\\p{Han}", "\\s+(?!\\S)|\\W"):
        yield "regex", bpe(LETTERS), dict(pre_tokenizer=regex(pattern, "Isolated"))
    yield "digits", words(), dict(pre_tokenizer=dict(type="Digits", individual_digits=True))
    yield "digits", words(), dict(pre_tokenizer=dict(type="Digits", individual_digits=False))
    yield "delimiter", words(), dict(pre_tokenizer=dict(type="CharDelimiterSplit", delimiter=" "))
    yield "fixed length", bpe(LETTERS), dict(pre_tokenizer=dict(type="FixedLength", length=3))
    yield "scripts", bpe(LETTERS), dict(pre_tokenizer=dict(type="UnicodeScripts"))
    for decoder in (dict(type="CTC", pad_token="<mask>", word_delimiter_token="b", cleanup=True), dict(type="Fuse"), None):
        yield "decoder", bpe(LETTERS), dict(decoder=decoder)


def main():
    lines = []
    for name, model, parts in cases():
        document = dict(version="1.0", truncation=None, padding=None, added_tokens=ADDED, normalizer=None, pre_tokenizer=None,
                        post_processor=None, decoder=None, model=model)
        document.update(parts)
        t = Tokenizer.from_str(json.dumps(document))
        results = []
        for text in TEXTS:
            ids = t.encode(text, add_special_tokens=False).ids
            results.append([ids, t.encode(text).ids, t.decode(ids, skip_special_tokens=False)])
        lines.append(json.dumps(dict(name=name, document=document, results=results), ensure_ascii=True, separators=(",", ":")))
    sys.stdout.write('{"texts":%s,\n"cases":[\n%s\n]}\n' % (json.dumps(TEXTS), ",\n".join(lines)))


if __name__ == "__main__":
    main()
