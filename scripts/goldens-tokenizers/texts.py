"""The corpus that the small tokenizers learn from, and the strings that they are tried on.

All of it is written here or drawn by a fixed rule: the same on every run.
"""

import random

SENTENCES = [
    "The quick brown fox jumps over the lazy dog, and then it sleeps for 10 hours.",
    "I'm sure they've seen what we'd do; she'll say it's fine, but you're not convinced.",
    "Below is a question. Write an answer that is short and correct.",
    "Où est l'école ? Ça dépend, répondit-elle à Noël, près de la forêt.",
    "Die Bäckerei öffnet früh; größere Brötchen kosten über 2,50 € mehr.",
    "El niño comió una piña y bebió agua, ¿verdad? ¡Sí!",
    "Příliš žluťoučký kůň úpěl ďábelské ódy. Łódź, Gdańsk i Kraków.",
    "今天天气很好，我们去公园散步吧。机器学习很有趣。",
    "今日は天気がいいので、公園へ散歩に行きましょう。カタカナもあります。",
    "مرحبا بالعالم، كيف حالك اليوم؟ هذا نص باللغة العربية.",
    "नमस्ते दुनिया, आज मौसम अच्छा है। यह हिंदी में लिखा है।",
    "Привет, мир! Сегодня хорошая погода, и мы идём гулять в парк.",
    "안녕하세요 세계, 오늘은 날씨가 좋네요. สวัสดีชาวโลก",
    "def add(a, b):\n    return a + b  # sum\n\nfor i in range(10):\n\tprint(f\"{i:03d}\")\n",
    "func main() {\n\tif err := run(); err != nil {\n\t\tlog.Fatal(err)\n\t}\n}\n",
    "SELECT name, COUNT(*) FROM users WHERE age >= 21 GROUP BY name;",
    "<html><body class=\"x\">Hello &amp; welcome</body></html>",
    "The years 1999, 2024 and 31415926; prices $3.14, 1,000,000.00 and -42.",
    "Great 👍 news 🚀🚀 from 🇩🇪 and 🇯🇵, says the 👩‍💻 to the 👨‍👩‍👧‍👦 😀.",
    "spaces  two   three    four\ttab\t\ttabs\nline\n\nlines\r\nwindows   \n",
    "user system assistant tool Question: Answer: Instruction: Response:",
]

EDGES = [
    "", " ", "  ", "   ", "\n", "\n\n", "\t", "\r\n", " \n ", "a", " a", "a ", "  a  ", "\ta", "a\n", "▁", "▁▁a", "a▁b", " ▁",
    "<s>", "</s>", "<s>a", " <s> a", "a<s>b", "a </s> b", "<unk>", "<pad>", "<mask>", "<bos>", "<eos>", "<0x41>", "<0x0A>",
    "<|begin_of_text|>", "<|eot_id|>", "a<|eot_id|>b", "a <|eot_id|> b", "<|start_header_id|>user<|end_header_id|>\n\nhi",
    "<|im_start|>user\nhi<|im_end|>\n", "<|endoftext|>", "<start_of_turn>user\nhi<end_of_turn>\n", "<|user|>\n hi<|end|> \n<|assistant|>",
    "  <|end|>  x", "a<|user|>   b", "<extra>", "x<extra>y", " <extra> ", "<Extra>", "tool_call", "a tool_call b", "<think>", "a <think> b</think>",
    "word", "wordy", "a word b", "awordb", "ÀÉ", "é", "e\u0301", "\u1e9b\u0323", "ﬁ", "Å", "\u212b", "가", "\u1100\u1161",
    "👩‍💻", "👨‍👩‍👧‍👦", "🇩🇪🇯🇵", "👍🏽", "🏳️‍🌈", "1️⃣", "🚀", "🚀🚀🚀", "a🚀b", "\u200d", "\ufeff", "\u200b", "\u00a0", "\u3000", "a\u3000b", "\u2028", "\x01", "\x7f",
    "I'm", "I'M", "I’m", "don't", "DON'T", "'s", "'S", "it'll've", "1", "12", "123", "1234", "12345", "3.14", "1,000", "½", "²", "Ⅷ", "٣٤", "१२३",
    "a.b", "a . b", "a , b", "do n't", "it 's", "x ' y", "we 've ! ?", "hello .", " ?", "!!!", "...", "#include <x.h>", "a==b&&c||d", "{}[]()", "https://example.org/a?b=c#d",
    "\n\n\n a", "a\n\n\n", " \t \n \t ", "a  \n  b", "\r", "a\rb", "\x0b\x0c", "한국어", "สวัสดี", "ก็", "हिंदी", "العربية", "\u202eabc", "Ω≈ç√∫", "𝕳𝖊𝖑𝖑𝖔", "𠮷野家", "\U0010ffff", "\ufffd", "a\ufffdb",
    "AaBb", "camelCaseWord", "snake_case_word", "SCREAMING", "a" * 60, " " * 40, "\n" * 20, "ab" * 30, "🚀" * 12, "中" * 20,
]


def strings(count=2100):
    """Edge cases, words of the corpus, and random mixes of them and of any characters."""
    rng = random.Random(20261124)
    words = sorted({w for s in SENTENCES for w in s.split(" ") if w})
    glue = [" ", " ", " ", "", "  ", "\n", "\t", "   ", ", ", "\n\n"]
    ranges = [(0x20, 0x7E), (0xA1, 0x17F), (0x370, 0x3FF), (0x400, 0x44F), (0x5D0, 0x5EA), (0x621, 0x64A), (0x905, 0x939),
              (0xE01, 0xE3A), (0x3041, 0x3096), (0x30A1, 0x30FA), (0x4E00, 0x4FFF), (0xAC00, 0xAFFF), (0x1F600, 0x1F64F), (0x2000, 0x206F), (0x300, 0x32F)]
    out = list(EDGES)
    seen = set(out)
    out += [w for w in words + SENTENCES if w not in seen and not seen.add(w)]
    while len(out) < count:
        parts = []
        for _ in range(rng.randint(1, 4)):
            roll = rng.random()
            if roll < 0.5:
                parts.append(rng.choice(words))
            elif roll < 0.75:
                low, high = rng.choice(ranges)
                parts.append("".join(chr(rng.randint(low, high)) for _ in range(rng.randint(1, 4))))
            else:
                parts.append(rng.choice(EDGES)[:12])
            parts.append(rng.choice(glue))
        text = "".join(parts[:-1] if rng.random() < 0.8 else parts)
        if text not in seen:
            seen.add(text)
            out.append(text)
    return out
