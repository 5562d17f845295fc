"""Sentences to speak: English ones made from word lists by a seeded generator, and a few in fifteen other languages."""

from __future__ import annotations

import random

_WHO = """my mother|the old fisherman|our neighbours|Bob and Maria|a young painter|the prime minister|nobody|everybody|
the whole family|that puppy|your baby brother|some people|the baker|Professor Webb|a famous chemist|the pilot|we all|
both of them|the children|a beautiful bird|his uncle Paul|the judge|five hundred students|my best friend|the moon|
a brown bear|the computer|this machine|Mr. Thompson|the weather|a small village|the museum|every plant|the shop keeper""".replace(
    "\n", ""
).split("|")
_DID = """bought|found|promised|carried|opened|explained|wanted|remembered|described|borrowed|built|used to love|watched|
moved|forgot|would have preferred|is trying to improve|has just published|cannot believe in|should measure|painted|gave up|
talked about|will never finish|always enjoys|kept|threw away|thought of|is afraid of|became|multiplied|put together|
showed us|asked for|jumped over|reads about|heard|pushed|shook|washed|chose|might solve|pulled|follows""".replace(
    "\n", ""
).split("|")
_WHAT = """a big blue boat|the first problem|three more apples|the meaning of the word|an empty room|warm bread and butter|
the number four|a very long letter|this equation|her favourite song|the map of Europe|too much coffee|the purple flowers|
a simple answer|the history of Rome|fresh water|a piece of paper|the speed of light|those wonderful pictures|a new idea|
the rule of thumb|the voice on the phone|the opposite|her thirteenth birthday|a bit of music|five pounds of sugar|
the north wind|a measure of pressure|the yellow house|both shoes|the judge's garage|everything|the other side|
the lamp by the window|chemistry and physics|a thousand islands|the upper lip|two sharp knives|the cheese""".replace(
    "\n", ""
).split("|")
_WHEN = """before breakfast|in the middle of the night|on Monday morning|last week|when the bell rang|without a word|
because it was raining|at the farm|by the river|for nothing|after the show|in February|with some help|under the bridge|
as usual|again and again|if you ask me|from time to time|near the beach|for the very first time|while we were asleep|
during the journey|at school|through the fog|before anybody else|on the fifth floor|up in the mountains""".replace(
    "\n", ""
).split("|")
_OPEN = """Well, |So, |Now, |Look: |Of course |I think that |Do you know why |Let me show you how |Perhaps |You see, |
First of all, |Imagine that |Yes, |No, |In other words, |Unfortunately, |Remember, |As we said, |Please tell me whether |""".replace(
    "\n", ""
).split("|")
_SHORT = """What do you mean by that?|Very good!|Let us begin.|How are you today?|That is not quite right, but almost.|
Can you hear me?|Oh, I see.|Try it once more.|Multiply both sides by x.|Wow, amazing!|Where were we?|Why not?|
Hello, my name is Emma, and I am your tutor.|Good morning, everybody, and welcome back.|Maybe, maybe not.|
Please open your books at page fifty four.|Who are you, and what do you want?|Thank you very much.|
The quick brown fox jumps over the lazy dog.|She sells sea shells by the sea shore.|We will be there by five.|
Peter Piper picked a peck of pickled peppers.|How much wood would a woodchuck chuck?|Bye bye, see you tomorrow.""".replace(
    "\n", ""
).split("|")

OTHER: dict[str, tuple[str, ...]] = {
    "en": tuple(_SHORT),
    "de": (
        "Guten Morgen, ich heiße Emma und bin heute eure Lehrerin.",
        "Heute sprechen wir über die Geschichte der Mathematik und über berühmte Forscher.",
        "Bitte öffnen Sie das Buch auf Seite fünfundvierzig.",
        "Alle Menschen sind frei und gleich an Würde und Rechten geboren.",
        "Warum fällt der Apfel nach unten, und der Mond bleibt oben?",
        "Das hast du sehr gut gemacht, probieren wir noch ein Beispiel.",
    ),
    "fr": (
        "Bonjour à tous, je m'appelle Emma et je suis votre professeur.",
        "Aujourd'hui, nous parlons de la mer, des bateaux et du beau temps.",
        "Tous les êtres humains naissent libres et égaux en dignité et en droits.",
        "Pourquoi est-ce que la pomme tombe toujours vers le bas ?",
        "Un peu plus vite, s'il vous plaît, on va bientôt finir.",
        "Une bonne réponse, mais il faut vérifier le problème encore une fois.",
    ),
    "es": (
        "Buenos días, me llamo Emma y soy vuestra profesora.",
        "Hoy vamos a hablar de los números, de la música y de la primavera.",
        "Todos los seres humanos nacen libres e iguales en dignidad y derechos.",
        "¿Por qué cae la manzana, y la luna se queda arriba?",
        "Muy bien, probemos otro problema un poco más difícil.",
        "Mi hermano bebe mucha agua y come pan con mantequilla.",
    ),
    "it": (
        "Buongiorno a tutti, mi chiamo Emma e sono la vostra maestra.",
        "Oggi parliamo di matematica, di musica e della primavera.",
        "Tutti gli esseri umani nascono liberi ed eguali in dignità e diritti.",
        "Perché la mela cade sempre verso il basso?",
        "Molto bene, proviamo un altro problema un po' più difficile.",
    ),
    "pt-br": (
        "Bom dia a todos, meu nome é Emma e sou a professora de vocês.",
        "Hoje vamos falar sobre números, música e a primavera.",
        "Todos os seres humanos nascem livres e iguais em dignidade e em direitos.",
        "Por que a maçã cai sempre para baixo?",
        "Muito bem, vamos tentar mais um problema.",
    ),
    "ru": (
        "Доброе утро, меня зовут Эмма, и я ваша учительница.",
        "Сегодня мы поговорим о числах, о музыке и о погоде.",
        "Все люди рождаются свободными и равными в своём достоинстве и правах.",
        "Почему яблоко всегда падает вниз?",
        "Очень хорошо, попробуем ещё один пример.",
    ),
    "pl": (
        "Dzień dobry wszystkim, mam na imię Emma i jestem waszą nauczycielką.",
        "Dzisiaj będziemy mówić o liczbach, muzyce i pogodzie.",
        "Wszyscy ludzie rodzą się wolni i równi pod względem swej godności i swych praw.",
        "Dlaczego jabłko zawsze spada na ziemię?",
    ),
    "nl": (
        "Goedemorgen allemaal, ik heet Emma en ik ben jullie lerares.",
        "Vandaag praten we over getallen, muziek en het weer.",
        "Alle mensen worden vrij en gelijk in waardigheid en rechten geboren.",
        "Waarom valt de appel altijd naar beneden?",
    ),
    "sv": (
        "God morgon allihopa, jag heter Emma och jag är er lärare.",
        "Idag ska vi prata om siffror, musik och vädret.",
        "Alla människor är födda fria och lika i värde och rättigheter.",
        "Varför faller äpplet alltid nedåt?",
    ),
    "tr": (
        "Herkese günaydın, benim adım Emma ve ben sizin öğretmeninizim.",
        "Bugün sayılar, müzik ve hava durumu hakkında konuşacağız.",
        "Bütün insanlar hür, haysiyet ve haklar bakımından eşit doğarlar.",
        "Elma neden hep aşağı düşer?",
    ),
    "cmn-latn-pinyin": (
        "da4 jia1 zao3 shang5 hao3, wo3 jiao4 ai4 ma3, shi4 ni3 men5 de5 lao3 shi1.",
        "jin1 tian1 wo3 men5 lai2 tan2 tan5 shu4 zi4, yin1 yue4 he2 tian1 qi4.",
        "ren2 ren2 sheng1 er2 zi4 you2, zai4 zun1 yan2 he2 quan2 li4 shang4 yi2 lü4 ping2 deng3.",
        "wei4 shen2 me5 ping2 guo3 zong3 shi4 wang3 xia4 diao4?",
        "hen3 hao3, wo3 men5 zai4 shi4 yi2 ge5 wen4 ti2 ba5.",
    ),
    "ja": (
        "みなさん、おはようございます。わたしはエマです。",
        "きょうは、すうじと、おんがくについて、はなしましょう。",
        "すべてのにんげんは、うまれながらにして、じゆうである。",
        "どうして、りんごはいつも、したにおちるのですか。",
    ),
    "hi": (
        "सबको नमस्ते, मेरा नाम एम्मा है और मैं आपकी अध्यापिका हूँ।",
        "आज हम संख्याओं, संगीत और मौसम के बारे में बात करेंगे।",
        "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है।",
    ),
    "ar": (
        "صباح الخير جميعا، اسمي إيما وأنا معلمتكم.",
        "اليوم سنتحدث عن الأرقام والموسيقى والطقس.",
        "يولد جميع الناس أحرارا متساوين في الكرامة والحقوق.",
    ),
}
"""espeak-ng's language codes, and things a teacher might say."""


def english(seed: int, count: int) -> list[str]:
    """`count` different sentences, the same for the same seed."""
    rng = random.Random(seed)
    out: list[str] = list(_SHORT)
    while len(out) < count:
        opening = rng.choice(_OPEN) if rng.random() < 0.45 else ""
        text = f"{rng.choice(_WHO)} {rng.choice(_DID)} {rng.choice(_WHAT)}"
        if rng.random() < 0.6:
            text += f" {rng.choice(_WHEN)}"
        if rng.random() < 0.25:
            joint = rng.choice([", and ", ", but ", "; ", ", so "])
            text += f"{joint}{rng.choice(_WHO)} {rng.choice(_DID)} {rng.choice(_WHAT)}"
        text = opening + text + rng.choice([".", ".", ".", "?", "!"])
        out.append(text[0].upper() + text[1:])
    rng.shuffle(out)
    return out[:count]
