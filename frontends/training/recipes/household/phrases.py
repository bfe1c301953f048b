"""What people say around a command, in each language: refusals, questions, a second command, a correction, noises.

The package of intents has commands only; these are ours. ``{}`` stands for a command. The first of several ways to say
something is used in training and validation, the last of ``never`` and ``past`` is held out for validation.
"""

# ruff: noqa: E501  the table has one line for each language

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Phrases:
    """Of one language.

    Attributes:
        never: a command that is not to be obeyed.
        past: a question about what was, in which a command occurs.
        both: between two commands.
        rather: between a command that is taken back and the one that is meant.
        please: before a command.
        noises: hesitations and the like, anywhere.
    """

    never: tuple[str, ...]
    past: tuple[str, ...]
    both: str
    rather: tuple[str, ...]
    please: tuple[str, ...]
    noises: tuple[str, ...]


def _rows(table: str) -> dict[str, Phrases]:
    found = {}
    for line in table.strip().splitlines():
        language, *cells = (cell.strip() for cell in line.split("|"))
        never, past, both, rather, please, noises = (
            tuple(one.strip() for one in cell.split("/") if one.strip()) for cell in cells
        )
        found[language] = Phrases(never, past, both[0], rather, please, noises)
    return found


#: language | never | past | both | rather | please | noises
PHRASES: Final = _rows("""
ar | لا تفعل هذا: {} / لا أريد هذا: {} / إياك أن تفعل هذا: {} | لماذا فعلت هذا أمس: {} / هل فعلت هذا أمس: {} | ثم | لا، أقصد | من فضلك | آه / يعني
bg | недей да правиш това: {} / не прави това: {} / никога не прави това: {} | защо вчера направи това: {} / вчера направи ли това: {} | и | не, исках да кажа | моля | ъъъ / ами
ca | no facis això: {} / no vull que facis això: {} / de cap manera: {} | per què vas fer això ahir: {} / vas fer això ahir: {} | i després | no, volia dir | si us plau | eh / mmm
cs | nedělej tohle: {} / nechci, abys udělal tohle: {} / v žádném případě: {} | proč jsi včera udělal tohle: {} / udělal jsi včera tohle: {} | a potom | ne, chtěl jsem říct | prosím | ehm / no
da | gør ikke dette: {} / jeg vil ikke have dette: {} / under ingen omstændigheder: {} | hvorfor gjorde du dette i går: {} / gjorde du dette i går: {} | og | nej, jeg mener | vær så venlig og | øh / altså
de | mach das nicht: {} / auf keinen Fall: {} / ich will nicht, dass du das tust: {} | warum hast du das gestern gemacht: {} / hast du das gestern gemacht: {} | und dann | nein, ich meine | bitte | äh / ähm / also
el | μην κάνεις αυτό: {} / δεν θέλω να κάνεις αυτό: {} / σε καμία περίπτωση: {} | γιατί έκανες χθες αυτό: {} / έκανες χθες αυτό: {} | και μετά | όχι, εννοώ | παρακαλώ | εεε / λοιπόν
en | do not {} / don't {} / dont {} / never {} / please don't {} / you must not {} / I don't want you to {} / under no circumstances {} | why did you {} yesterday / did you {} yesterday / who asked you to {} / have you ever tried to {} | and | no, I mean / sorry, I meant / wait, rather | please | um / uh / er / well / like
es | no hagas esto: {} / no quiero que hagas esto: {} / de ninguna manera: {} | por qué hiciste esto ayer: {} / hiciste esto ayer: {} | y luego | no, quiero decir | por favor | eh / pues
eu | ez egin hau: {} / ez dut hau nahi: {} / inola ere ez: {} | zergatik egin zenuen hau atzo: {} / egin al zenuen hau atzo: {} | eta | ez, esan nahi nuen | mesedez | ee / ba
fi | älä tee tätä: {} / en halua, että teet tämän: {} / et missään nimessä saa tehdä tätä: {} | miksi teit tämän eilen: {} / teitkö tämän eilen: {} | ja sitten | ei, tarkoitan | ole hyvä ja | öö / tota
fr | ne fais pas ça : {} / je ne veux pas que tu fasses ça : {} / surtout pas : {} | pourquoi as-tu fait ça hier : {} / as-tu fait ça hier : {} | et ensuite | non, je veux dire | s'il te plaît | euh / ben
gl | non fagas isto: {} / non quero que fagas isto: {} / de ningún xeito: {} | por que fixeches isto onte: {} / fixeches isto onte: {} | e despois | non, quero dicir | por favor | eh / pois
hr | nemoj raditi ovo: {} / ne želim da radiš ovo: {} / nikako: {} | zašto si jučer napravio ovo: {} / jesi li jučer napravio ovo: {} | i zatim | ne, mislim | molim te | ovaj / hm
hu | ne csináld ezt: {} / nem akarom, hogy ezt csináld: {} / semmiképp se: {} | miért csináltad ezt tegnap: {} / megcsináltad ezt tegnap: {} | és | nem, úgy értem | kérlek | öö / hát
it | non fare questo: {} / non voglio che tu faccia questo: {} / per nessun motivo: {} | perché ieri hai fatto questo: {} / ieri hai fatto questo: {} | e poi | no, volevo dire | per favore | ehm / allora
ml | ഇത് ചെയ്യരുത്: {} / എനിക്ക് ഇത് വേണ്ട: {} / ഒരിക്കലും ചെയ്യരുത്: {} | ഇന്നലെ എന്തിനാണ് ഇത് ചെയ്തത്: {} / ഇന്നലെ ഇത് ചെയ്തോ: {} | പിന്നെ | അല്ല, ഞാൻ ഉദ്ദേശിച്ചത് | ദയവായി | ഉം / അതായത്
nb | ikke gjør dette: {} / jeg vil ikke ha dette: {} / under ingen omstendigheter: {} | hvorfor gjorde du dette i går: {} / gjorde du dette i går: {} | og så | nei, jeg mener | vær så snill å | eh / altså
nl | doe dit niet: {} / ik wil niet dat je dit doet: {} / in geen geval: {} | waarom heb je dit gisteren gedaan: {} / heb je dit gisteren gedaan: {} | en daarna | nee, ik bedoel | alsjeblieft | eh / nou
pl | nie rób tego: {} / nie chcę, żebyś to robił: {} / pod żadnym pozorem: {} | dlaczego wczoraj zrobiłeś to: {} / czy wczoraj zrobiłeś to: {} | a potem | nie, to znaczy | proszę | yyy / no
pt | não faças isto: {} / não quero que faças isto: {} / de maneira nenhuma: {} | porque fizeste isto ontem: {} / fizeste isto ontem: {} | e depois | não, quero dizer | por favor | hum / bem
pt-BR | não faça isso: {} / não quero que você faça isso: {} / de jeito nenhum: {} | por que você fez isso ontem: {} / você fez isso ontem: {} | e depois | não, quero dizer | por favor | hum / então
ro | nu face asta: {} / nu vreau să faci asta: {} / în niciun caz: {} | de ce ai făcut asta ieri: {} / ai făcut asta ieri: {} | și apoi | nu, vreau să spun | te rog | ăă / păi
ru | не делай этого: {} / я не хочу этого: {} / ни в коем случае: {} | почему ты вчера сделал это: {} / ты вчера сделал это: {} | и потом | нет, я хотел сказать | пожалуйста | эээ / ну
sk | nerob toto: {} / nechcem, aby si robil toto: {} / v žiadnom prípade: {} | prečo si včera urobil toto: {} / urobil si včera toto: {} | a potom | nie, chcel som povedať | prosím | ehm / no
sl | ne naredi tega: {} / nočem, da narediš to: {} / nikakor ne: {} | zakaj si včeraj naredil to: {} / si včeraj naredil to: {} | in potem | ne, mislim | prosim | hm / no
sr | немој да радиш ово: {} / не желим да радиш ово: {} / никако: {} | зашто си јуче урадио ово: {} / да ли си јуче урадио ово: {} | и онда | не, мислим | молим те | овај / хм
sv | gör inte detta: {} / jag vill inte att du gör detta: {} / under inga omständigheter: {} | varför gjorde du detta i går: {} / gjorde du detta i går: {} | och sedan | nej, jag menar | snälla | öh / alltså
th | อย่า{} / ไม่ต้อง{} / ห้าม{} | เมื่อวานทำไมถึง{} / เมื่อวานได้{}หรือเปล่า | แล้วก็ | ไม่ใช่ หมายถึง | กรุณา | เอ่อ / คือ
zh-CN | 不要{} / 别{} / 绝对不能{} | 昨天为什么{} / 昨天有没有{} | 然后 | 不对，我是说 | 请 | 嗯 / 那个
zh-TW | 不要{} / 別{} / 絕對不能{} | 昨天為什麼{} / 昨天有沒有{} | 然後 | 不對，我是說 | 請 | 嗯 / 那個
""")

#: Languages without spaces between words, where noises follow directly.
UNSPACED: Final = frozenset({"th", "zh-CN", "zh-TW"})
LANGUAGES: Final = tuple(PHRASES)
WAKE: Final = ("hey jarvis", "ok nabu", "hey mycroft", "alexa", "computer", "okay house")
