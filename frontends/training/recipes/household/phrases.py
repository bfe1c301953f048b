"""What people say around a command, in each language: refusals, questions, a second command, a correction, noises.

The package of intents has commands only; these are ours. ``{}`` stands for a command. All ways to say something but
the last of ``never`` and ``past`` are for training, that one is held out for validation.
"""

# ruff: noqa: E501  the table has one line for each language

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Phrases:
    """Of one language.

    Attributes:
        never: a command that is not to be obeyed; of two gaps the first has the command's first words.
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
ar | ممنوع: {} / أرجوك لا تقم بهذا: {} / لا {} / لا تفعل هذا: {} / لا أريد هذا: {} / إياك أن تفعل هذا: {} | من فعل هذا: {} / متى فعلت هذا: {} / لماذا فعلت هذا أمس: {} / هل فعلت هذا أمس: {} | ثم | لا، أقصد | من فضلك | آه / يعني
bg | забранено е: {} / моля те, недей: {} / не {} / недей да правиш това: {} / не прави това: {} / никога не прави това: {} | кой направи това: {} / кога направи това: {} / защо вчера направи това: {} / вчера направи ли това: {} | и | не, исках да кажа | моля | ъъъ / ами
ca | està prohibit: {} / si us plau, no: {} / no {} / no facis això: {} / no vull que facis això: {} / de cap manera: {} | qui ha fet això: {} / quan vas fer això: {} / per què vas fer això ahir: {} / vas fer això ahir: {} | i després | no, volia dir | si us plau | eh / mmm
cs | je zakázáno: {} / prosím, ne: {} / ne{} / nedělej tohle: {} / nechci, abys udělal tohle: {} / v žádném případě: {} | kdo udělal tohle: {} / kdy jsi udělal tohle: {} / proč jsi včera udělal tohle: {} / udělal jsi včera tohle: {} | a potom | ne, chtěl jsem říct | prosím | ehm / no
da | det er forbudt: {} / lad være med det: {} / {} ikke {} / gør ikke dette: {} / jeg vil ikke have dette: {} / under ingen omstændigheder: {} | hvem gjorde dette: {} / hvornår gjorde du dette: {} / hvorfor gjorde du dette i går: {} / gjorde du dette i går: {} | og | nej, jeg mener | vær så venlig og | øh / altså
de | es ist verboten: {} / lass das bitte: {} / {} nicht {} / mach das nicht: {} / auf keinen Fall: {} / ich will nicht, dass du das tust: {} | wer hat das gemacht: {} / wann hast du das gemacht: {} / warum hast du das gestern gemacht: {} / hast du das gestern gemacht: {} | und dann | nein, ich meine | bitte | äh / ähm / also
el | απαγορεύεται: {} / σε παρακαλώ, όχι: {} / μην {} / μην κάνεις αυτό: {} / δεν θέλω να κάνεις αυτό: {} / σε καμία περίπτωση: {} | ποιος έκανε αυτό: {} / πότε έκανες αυτό: {} / γιατί έκανες χθες αυτό: {} / έκανες χθες αυτό: {} | και μετά | όχι, εννοώ | παρακαλώ | εεε / λοιπόν
en | you should not {} / make sure not to {} / whatever you do, don't {} / by no means {} / I forbid you to {} / it would be wrong to {} / stop, do not {} / nobody wants you to {} / there is no need to {} / I told you not to {} / {} not {} / do not {} / don't {} / dont {} / never {} / please don't {} / you must not {} / I don't want you to {} / under no circumstances {} | when did you {} / how often did you {} / last night did you {} / I wonder why you {} / were you told to {} / remember when I asked you to {} / yesterday you tried to {} / how come you {} / which of you decided to {} / why did you {} yesterday / did you {} yesterday / who asked you to {} / have you ever tried to {} | and | no, I mean / sorry, I meant / wait, rather | please | um / uh / er / well / like
es | está prohibido: {} / por favor, no: {} / no {} / no hagas esto: {} / no quiero que hagas esto: {} / de ninguna manera: {} | quién hizo esto: {} / cuándo hiciste esto: {} / por qué hiciste esto ayer: {} / hiciste esto ayer: {} | y luego | no, quiero decir | por favor | eh / pues
eu | debekatuta dago: {} / mesedez, ez: {} / ez {} / ez egin hau: {} / ez dut hau nahi: {} / inola ere ez: {} | nork egin du hau: {} / noiz egin zenuen hau: {} / zergatik egin zenuen hau atzo: {} / egin al zenuen hau atzo: {} | eta | ez, esan nahi nuen | mesedez | ee / ba
fi | se on kielletty: {} / ole kiltti, älä: {} / älä {} / älä tee tätä: {} / en halua, että teet tämän: {} / et missään nimessä saa tehdä tätä: {} | kuka teki tämän: {} / milloin teit tämän: {} / miksi teit tämän eilen: {} / teitkö tämän eilen: {} | ja sitten | ei, tarkoitan | ole hyvä ja | öö / tota
fr | c'est interdit : {} / s'il te plaît, non : {} / ne {} pas {} / ne fais pas ça : {} / je ne veux pas que tu fasses ça : {} / surtout pas : {} | qui a fait ça : {} / quand as-tu fait ça : {} / pourquoi as-tu fait ça hier : {} / as-tu fait ça hier : {} | et ensuite | non, je veux dire | s'il te plaît | euh / ben
gl | está prohibido: {} / por favor, non: {} / non {} / non fagas isto: {} / non quero que fagas isto: {} / de ningún xeito: {} | quen fixo isto: {} / cando fixeches isto: {} / por que fixeches isto onte: {} / fixeches isto onte: {} | e despois | non, quero dicir | por favor | eh / pois
hr | zabranjeno je: {} / molim te, nemoj: {} / nemoj {} / nemoj raditi ovo: {} / ne želim da radiš ovo: {} / nikako: {} | tko je napravio ovo: {} / kada si napravio ovo: {} / zašto si jučer napravio ovo: {} / jesi li jučer napravio ovo: {} | i zatim | ne, mislim | molim te | ovaj / hm
hu | tilos: {} / kérlek, ne: {} / ne {} / ne csináld ezt: {} / nem akarom, hogy ezt csináld: {} / semmiképp se: {} | ki csinálta ezt: {} / mikor csináltad ezt: {} / miért csináltad ezt tegnap: {} / megcsináltad ezt tegnap: {} | és | nem, úgy értem | kérlek | öö / hát
it | è vietato: {} / per favore, no: {} / non {} / non fare questo: {} / non voglio che tu faccia questo: {} / per nessun motivo: {} | chi ha fatto questo: {} / quando hai fatto questo: {} / perché ieri hai fatto questo: {} / ieri hai fatto questo: {} | e poi | no, volevo dire | per favore | ehm / allora
ml | ഇത് നിരോധിച്ചിരിക്കുന്നു: {} / ദയവായി അരുത്: {} / {} വേണ്ട / ഇത് ചെയ്യരുത്: {} / എനിക്ക് ഇത് വേണ്ട: {} / ഒരിക്കലും ചെയ്യരുത്: {} | ആരാണ് ഇത് ചെയ്തത്: {} / എപ്പോഴാണ് ഇത് ചെയ്തത്: {} / ഇന്നലെ എന്തിനാണ് ഇത് ചെയ്തത്: {} / ഇന്നലെ ഇത് ചെയ്തോ: {} | പിന്നെ | അല്ല, ഞാൻ ഉദ്ദേശിച്ചത് | ദയവായി | ഉം / അതായത്
nb | det er forbudt: {} / la være med det: {} / {} ikke {} / ikke gjør dette: {} / jeg vil ikke ha dette: {} / under ingen omstendigheter: {} | hvem gjorde dette: {} / når gjorde du dette: {} / hvorfor gjorde du dette i går: {} / gjorde du dette i går: {} | og så | nei, jeg mener | vær så snill å | eh / altså
nl | het is verboden: {} / alsjeblieft niet: {} / {} niet {} / doe dit niet: {} / ik wil niet dat je dit doet: {} / in geen geval: {} | wie heeft dit gedaan: {} / wanneer heb je dit gedaan: {} / waarom heb je dit gisteren gedaan: {} / heb je dit gisteren gedaan: {} | en daarna | nee, ik bedoel | alsjeblieft | eh / nou
pl | zabronione: {} / proszę, nie: {} / nie {} / nie rób tego: {} / nie chcę, żebyś to robił: {} / pod żadnym pozorem: {} | kto zrobił to: {} / kiedy zrobiłeś to: {} / dlaczego wczoraj zrobiłeś to: {} / czy wczoraj zrobiłeś to: {} | a potem | nie, to znaczy | proszę | yyy / no
pt | é proibido: {} / por favor, não: {} / não {} / não faças isto: {} / não quero que faças isto: {} / de maneira nenhuma: {} | quem fez isto: {} / quando fizeste isto: {} / porque fizeste isto ontem: {} / fizeste isto ontem: {} | e depois | não, quero dizer | por favor | hum / bem
pt-BR | é proibido: {} / por favor, não: {} / não {} / não faça isso: {} / não quero que você faça isso: {} / de jeito nenhum: {} | quem fez isso: {} / quando você fez isso: {} / por que você fez isso ontem: {} / você fez isso ontem: {} | e depois | não, quero dizer | por favor | hum / então
ro | este interzis: {} / te rog, nu: {} / nu {} / nu face asta: {} / nu vreau să faci asta: {} / în niciun caz: {} | cine a făcut asta: {} / când ai făcut asta: {} / de ce ai făcut asta ieri: {} / ai făcut asta ieri: {} | și apoi | nu, vreau să spun | te rog | ăă / păi
ru | это запрещено: {} / пожалуйста, не надо: {} / не {} / не делай этого: {} / я не хочу этого: {} / ни в коем случае: {} | кто сделал это: {} / когда ты сделал это: {} / почему ты вчера сделал это: {} / ты вчера сделал это: {} | и потом | нет, я хотел сказать | пожалуйста | эээ / ну
sk | je zakázané: {} / prosím, nie: {} / ne{} / nerob toto: {} / nechcem, aby si robil toto: {} / v žiadnom prípade: {} | kto urobil toto: {} / kedy si urobil toto: {} / prečo si včera urobil toto: {} / urobil si včera toto: {} | a potom | nie, chcel som povedať | prosím | ehm / no
sl | prepovedano je: {} / prosim, ne: {} / ne {} / ne naredi tega: {} / nočem, da narediš to: {} / nikakor ne: {} | kdo je naredil to: {} / kdaj si naredil to: {} / zakaj si včeraj naredil to: {} / si včeraj naredil to: {} | in potem | ne, mislim | prosim | hm / no
sr | забрањено је: {} / молим те, немој: {} / немој {} / немој да радиш ово: {} / не желим да радиш ово: {} / никако: {} | ко је урадио ово: {} / када си урадио ово: {} / зашто си јуче урадио ово: {} / да ли си јуче урадио ово: {} | и онда | не, мислим | молим те | овај / хм
sv | det är förbjudet: {} / låt bli det: {} / {} inte {} / gör inte detta: {} / jag vill inte att du gör detta: {} / under inga omständigheter: {} | vem gjorde detta: {} / när gjorde du detta: {} / varför gjorde du detta i går: {} / gjorde du detta i går: {} | och sedan | nej, jag menar | snälla | öh / alltså
th | ห้ามเด็ดขาด {} / ขอร้องอย่า{} / อย่า{} / ไม่ต้อง{} / ห้าม{} | ใครเป็นคน{} / เมื่อไหร่ที่{} / เมื่อวานทำไมถึง{} / เมื่อวานได้{}หรือเปล่า | แล้วก็ | ไม่ใช่ หมายถึง | กรุณา | เอ่อ / คือ
zh-CN | 禁止{} / 千万别{} / 请不要{} / 不要{} / 别{} / 绝对不能{} | 谁{}了 / 你什么时候{}的 / 昨天为什么{} / 昨天有没有{} | 然后 | 不对，我是说 | 请 | 嗯 / 那个
zh-TW | 禁止{} / 千萬別{} / 請不要{} / 不要{} / 別{} / 絕對不能{} | 誰{}了 / 你什麼時候{}的 / 昨天為什麼{} / 昨天有沒有{} | 然後 | 不對，我是說 | 請 | 嗯 / 那個
""")

#: Languages without spaces between words, where noises follow directly.
UNSPACED: Final = frozenset({"th", "zh-CN", "zh-TW"})
LANGUAGES: Final = tuple(PHRASES)
WAKE: Final = ("hey jarvis", "ok nabu", "hey mycroft", "alexa", "computer", "okay house")
