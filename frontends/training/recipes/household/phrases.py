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
        never: a command that is not to be obeyed, or taken back; of two gaps the first has the command's first words.
        past: a question about what was or could be, in which a command occurs.
        both: between two commands.
        rather: between a command that is taken back and the one that is meant.
        please: before a command.
        noises: hesitations and the like, anywhere.
        also: between two things.
    """

    never: tuple[str, ...]
    past: tuple[str, ...]
    both: tuple[str, ...]
    rather: tuple[str, ...]
    please: tuple[str, ...]
    noises: tuple[str, ...]
    also: str = ""


#: "and", where words are apart and the word is one of its own.
_AND: Final = {
    "ar": "و", "bg": "и", "ca": "i", "cs": "a", "da": "og", "de": "und", "el": "και", "en": "and", "es": "y",
    "eu": "eta", "fi": "ja", "fr": "et", "gl": "e", "hr": "i", "hu": "és", "it": "e", "nb": "og", "nl": "en", "pl": "i",
    "pt": "e", "pt-BR": "e", "ro": "și", "ru": "и", "sk": "a", "sl": "in", "sr": "и", "sv": "och",
}  # fmt: skip


def _rows(table: str) -> dict[str, Phrases]:
    found = {}
    for line in table.strip().splitlines():
        language, *cells = (cell.strip() for cell in line.split("|"))
        never, past, both, rather, please, noises = (
            tuple(one.strip() for one in cell.split("/") if one.strip()) for cell in cells
        )
        found[language] = Phrases(never, past, both, rather, please, noises, _AND.get(language, ""))
    return found


#: language | never | past | both | rather | please | noises
PHRASES: Final = _rows("""
ar | ممنوع: {} / أرجوك لا تقم بهذا: {} / لا {} / لا تفعل هذا: {} / لا أريد هذا: {} / {} لا، انس الأمر / لا داعي لهذا: {} / {} كنت أمزح / إياك أن تفعل هذا: {} | من فعل هذا: {} / متى فعلت هذا: {} / لماذا فعلت هذا أمس: {} / هل فعلت هذا من قبل: {} / كيف يمكنني أن أفعل هذا: {} / متى ستفعل هذا: {} / هل فعلت هذا أمس: {} | ثم / و / وبعد ذلك | لا، أقصد | من فضلك | آه / يعني
bg | забранено е: {} / моля те, недей: {} / не {} / недей да правиш това: {} / не прави това: {} / {}, не, забрави / няма нужда от това: {} / {}, шегувам се / никога не прави това: {} | кой направи това: {} / кога направи това: {} / защо вчера направи това: {} / правил ли си вече това: {} / как се прави това: {} / защо никой не направи това: {} / вчера направи ли това: {} | и / и после | не, исках да кажа | моля | ъъъ / ами
ca | està prohibit: {} / si us plau, no: {} / no {} / no facis això: {} / no vull que facis això: {} / {}, no, oblida-ho / no cal fer això: {} / {}, era broma / de cap manera: {} | qui ha fet això: {} / quan vas fer això: {} / per què vas fer això ahir: {} / ja has fet això: {} / com es fa això: {} / per què ningú ha fet això: {} / vas fer això ahir: {} | i després / i / i també | no, volia dir | si us plau | eh / mmm
cs | je zakázáno: {} / prosím, ne: {} / ne{} / nedělej tohle: {} / nechci, abys udělal tohle: {} / {}, ne, zapomeň na to / to není potřeba: {} / {}, dělám si legraci / v žádném případě: {} | kdo udělal tohle: {} / kdy jsi udělal tohle: {} / proč jsi včera udělal tohle: {} / už jsi udělal tohle: {} / jak se dělá tohle: {} / proč nikdo neudělal tohle: {} / udělal jsi včera tohle: {} | a potom / a / a taky | ne, chtěl jsem říct | prosím | ehm / no
da | det er forbudt: {} / lad være med det: {} / {} ikke {} / gør ikke dette: {} / jeg vil ikke have dette: {} / {}, nej, glem det / det er ikke nødvendigt: {} / {}, det var for sjov / under ingen omstændigheder: {} | hvem gjorde dette: {} / hvornår gjorde du dette: {} / hvorfor gjorde du dette i går: {} / har du allerede gjort dette: {} / hvordan gør man dette: {} / hvorfor har ingen gjort dette: {} / gjorde du dette i går: {} | og / og så | nej, jeg mener | vær så venlig og | øh / altså
de | es ist verboten: {} / lass das bitte: {} / {} nicht {} / mach das nicht: {} / auf keinen Fall: {} / {}, nein, vergiss es / das ist nicht nötig: {} / {}, war nur Spaß / {} bitte nicht / wehe du machst das: {} / ich will nicht, dass du das tust: {} | wer hat das gemacht: {} / wann hast du das gemacht: {} / warum hast du das gestern gemacht: {} / hast du das schon gemacht: {} / wie macht man das: {} / warum hat niemand das gemacht: {} / hast du das gestern gemacht: {} | und dann / und / und danach / und außerdem | nein, ich meine | bitte | äh / ähm / also
el | απαγορεύεται: {} / σε παρακαλώ, όχι: {} / μην {} / μην κάνεις αυτό: {} / δεν θέλω να κάνεις αυτό: {} / {}, όχι, ξέχασέ το / δεν χρειάζεται αυτό: {} / {}, αστειεύομαι / σε καμία περίπτωση: {} | ποιος έκανε αυτό: {} / πότε έκανες αυτό: {} / γιατί έκανες χθες αυτό: {} / έκανες ήδη αυτό: {} / πώς γίνεται αυτό: {} / γιατί κανείς δεν έκανε αυτό: {} / έκανες χθες αυτό: {} | και μετά / και / και επίσης | όχι, εννοώ | παρακαλώ | εεε / λοιπόν
en | you should not {} / make sure not to {} / whatever you do, don't {} / by no means {} / I forbid you to {} / it would be wrong to {} / stop, do not {} / nobody wants you to {} / there is no need to {} / I told you not to {} / {} not {} / do not {} / don't {} / dont {} / never {} / please don't {} / you must not {} / I don't want you to {} / I don't want to {} / I would rather not {} / let's not {} / you don't have to {} / don't you dare {} / don't ever {} / avoid this: {} / {}, no, forget it / {}, just kidding / {}, or rather don't / I am not asking you to {} / it is forbidden to {} / refuse to {} / nobody said to {} / please do not {} / we should not {} / don't you {} / hey do not {} / you better not {} / not now: {} / on no account {} / in no case {} / at no point {} / there is no way you may {} / never ever {} / you may not {} / you are not allowed to {} / I hope you will not {} / no, you shall not {} / nobody is to {} / under no circumstances {} | when did you {} / how often did you {} / last night did you {} / I wonder why you {} / were you told to {} / remember when I asked you to {} / yesterday you tried to {} / how come you {} / which of you decided to {} / why did you {} yesterday / did you {} yesterday / who asked you to {} / what happens if I {} / what happens when you {} / how do I {} / is it a good idea to {} / did somebody {} / did anyone {} today / why would you {} / have I asked you to {} / how many times did you {} / did I tell you to {} / were you supposed to {} / tell me how to {} / he wanted to {} / she forgot to {} / they always {} on sundays / why didn't you {} / my father used to {} / would it be hard to {} / have you ever tried to {} | and / and then / and also / then / after that | no, I mean / sorry, I meant / wait, rather | please | um / uh / er / well / like
es | está prohibido: {} / por favor, no: {} / no {} / no hagas esto: {} / no quiero que hagas esto: {} / {}, no, olvídalo / no hace falta esto: {} / {}, era broma / de ninguna manera: {} | quién hizo esto: {} / cuándo hiciste esto: {} / por qué hiciste esto ayer: {} / ya hiciste esto: {} / cómo se hace esto: {} / por qué nadie hizo esto: {} / hiciste esto ayer: {} | y luego / y / y también | no, quiero decir | por favor | eh / pues
eu | debekatuta dago: {} / mesedez, ez: {} / ez {} / ez egin hau: {} / ez dut hau nahi: {} / {}, ez, ahaztu / ez dago honen beharrik: {} / {}, txantxetan nabil / inola ere ez: {} | nork egin du hau: {} / noiz egin zenuen hau: {} / zergatik egin zenuen hau atzo: {} / egin duzu jada hau: {} / nola egiten da hau: {} / zergatik ez du inork egin hau: {} / egin al zenuen hau atzo: {} | eta / eta gero | ez, esan nahi nuen | mesedez | ee / ba
fi | se on kielletty: {} / ole kiltti, älä: {} / älä {} / älä tee tätä: {} / en halua, että teet tämän: {} / {}, ei, unohda se / tämä ei ole tarpeen: {} / {}, vitsi vain / et missään nimessä saa tehdä tätä: {} | kuka teki tämän: {} / milloin teit tämän: {} / miksi teit tämän eilen: {} / teitkö jo tämän: {} / miten tämä tehdään: {} / miksi kukaan ei tehnyt tätä: {} / teitkö tämän eilen: {} | ja sitten / ja / ja myös | ei, tarkoitan | ole hyvä ja | öö / tota
fr | c'est interdit : {} / s'il te plaît, non : {} / ne {} pas {} / ne fais pas ça : {} / je ne veux pas que tu fasses ça : {} / {}, non, laisse tomber / pas besoin de ça : {} / {}, je plaisante / surtout pas : {} | qui a fait ça : {} / quand as-tu fait ça : {} / pourquoi as-tu fait ça hier : {} / as-tu déjà fait ça : {} / comment fait-on ça : {} / pourquoi personne n'a fait ça : {} / as-tu fait ça hier : {} | et ensuite / et / et puis | non, je veux dire | s'il te plaît | euh / ben
gl | está prohibido: {} / por favor, non: {} / non {} / non fagas isto: {} / non quero que fagas isto: {} / {}, non, esquéceo / non fai falta isto: {} / {}, era broma / de ningún xeito: {} | quen fixo isto: {} / cando fixeches isto: {} / por que fixeches isto onte: {} / xa fixeches isto: {} / como se fai isto: {} / por que ninguén fixo isto: {} / fixeches isto onte: {} | e despois / e / e tamén | non, quero dicir | por favor | eh / pois
hr | zabranjeno je: {} / molim te, nemoj: {} / nemoj {} / nemoj raditi ovo: {} / ne želim da radiš ovo: {} / {}, ne, zaboravi / to nije potrebno: {} / {}, šalim se / nikako: {} | tko je napravio ovo: {} / kada si napravio ovo: {} / zašto si jučer napravio ovo: {} / jesi li već napravio ovo: {} / kako se radi ovo: {} / zašto nitko nije napravio ovo: {} / jesi li jučer napravio ovo: {} | i zatim / i / i onda | ne, mislim | molim te | ovaj / hm
hu | tilos: {} / kérlek, ne: {} / ne {} / ne csináld ezt: {} / nem akarom, hogy ezt csináld: {} / {}, nem, felejtsd el / erre nincs szükség: {} / {}, csak vicceltem / semmiképp se: {} | ki csinálta ezt: {} / mikor csináltad ezt: {} / miért csináltad ezt tegnap: {} / megcsináltad már ezt: {} / hogyan kell ezt csinálni: {} / miért nem csinálta meg senki ezt: {} / megcsináltad ezt tegnap: {} | és / és aztán / és még | nem, úgy értem | kérlek | öö / hát
it | è vietato: {} / per favore, no: {} / non {} / non fare questo: {} / non voglio che tu faccia questo: {} / {}, no, lascia stare / non serve questo: {} / {}, scherzavo / per nessun motivo: {} | chi ha fatto questo: {} / quando hai fatto questo: {} / perché ieri hai fatto questo: {} / hai già fatto questo: {} / come si fa questo: {} / perché nessuno ha fatto questo: {} / ieri hai fatto questo: {} | e poi / e / e anche | no, volevo dire | per favore | ehm / allora
ml | ഇത് നിരോധിച്ചിരിക്കുന്നു: {} / ദയവായി അരുത്: {} / {} വേണ്ട / ഇത് ചെയ്യരുത്: {} / എനിക്ക് ഇത് വേണ്ട: {} / {}, അല്ല, അത് മറന്നേക്കൂ / ഇതിന്റെ ആവശ്യമില്ല: {} / {}, തമാശ പറഞ്ഞതാണ് / ഒരിക്കലും ചെയ്യരുത്: {} | ആരാണ് ഇത് ചെയ്തത്: {} / എപ്പോഴാണ് ഇത് ചെയ്തത്: {} / ഇന്നലെ എന്തിനാണ് ഇത് ചെയ്തത്: {} / ഇത് നേരത്തെ ചെയ്തോ: {} / ഇത് എങ്ങനെ ചെയ്യാം: {} / എന്തുകൊണ്ട് ആരും ഇത് ചെയ്തില്ല: {} / ഇന്നലെ ഇത് ചെയ്തോ: {} | പിന്നെ / കൂടാതെ / അതിനുശേഷം | അല്ല, ഞാൻ ഉദ്ദേശിച്ചത് | ദയവായി | ഉം / അതായത്
nb | det er forbudt: {} / la være med det: {} / {} ikke {} / ikke gjør dette: {} / jeg vil ikke ha dette: {} / {}, nei, glem det / det er ikke nødvendig: {} / {}, jeg bare tuller / under ingen omstendigheter: {} | hvem gjorde dette: {} / når gjorde du dette: {} / hvorfor gjorde du dette i går: {} / har du allerede gjort dette: {} / hvordan gjør man dette: {} / hvorfor har ingen gjort dette: {} / gjorde du dette i går: {} | og så / og / og også | nei, jeg mener | vær så snill å | eh / altså
nl | het is verboden: {} / alsjeblieft niet: {} / {} niet {} / doe dit niet: {} / ik wil niet dat je dit doet: {} / {}, nee, laat maar / dat is niet nodig: {} / {}, grapje / in geen geval: {} | wie heeft dit gedaan: {} / wanneer heb je dit gedaan: {} / waarom heb je dit gisteren gedaan: {} / heb je dit al gedaan: {} / hoe doe je dit: {} / waarom heeft niemand dit gedaan: {} / heb je dit gisteren gedaan: {} | en daarna / en / en ook | nee, ik bedoel | alsjeblieft | eh / nou
pl | zabronione: {} / proszę, nie: {} / nie {} / nie rób tego: {} / nie chcę, żebyś to robił: {} / {}, nie, zapomnij / to niepotrzebne: {} / {}, żartowałem / pod żadnym pozorem: {} | kto zrobił to: {} / kiedy zrobiłeś to: {} / dlaczego wczoraj zrobiłeś to: {} / czy już zrobiłeś to: {} / jak się to robi: {} / dlaczego nikt nie zrobił tego: {} / czy wczoraj zrobiłeś to: {} | a potem / i / i jeszcze | nie, to znaczy | proszę | yyy / no
pt | é proibido: {} / por favor, não: {} / não {} / não faças isto: {} / não quero que faças isto: {} / {}, não, esquece / não é preciso isto: {} / {}, estou a brincar / de maneira nenhuma: {} | quem fez isto: {} / quando fizeste isto: {} / porque fizeste isto ontem: {} / já fizeste isto: {} / como se faz isto: {} / porque é que ninguém fez isto: {} / fizeste isto ontem: {} | e depois / e / e também | não, quero dizer | por favor | hum / bem
pt-BR | é proibido: {} / por favor, não: {} / não {} / não faça isso: {} / não quero que você faça isso: {} / {}, não, esquece / não precisa disso: {} / {}, brincadeira / de jeito nenhum: {} | quem fez isso: {} / quando você fez isso: {} / por que você fez isso ontem: {} / você já fez isso: {} / como se faz isso: {} / por que ninguém fez isso: {} / você fez isso ontem: {} | e depois / e / e também | não, quero dizer | por favor | hum / então
ro | este interzis: {} / te rog, nu: {} / nu {} / nu face asta: {} / nu vreau să faci asta: {} / {}, nu, las-o baltă / nu e nevoie de asta: {} / {}, glumeam / în niciun caz: {} | cine a făcut asta: {} / când ai făcut asta: {} / de ce ai făcut asta ieri: {} / ai făcut deja asta: {} / cum se face asta: {} / de ce nu a făcut nimeni asta: {} / ai făcut asta ieri: {} | și apoi / și / și încă | nu, vreau să spun | te rog | ăă / păi
ru | это запрещено: {} / пожалуйста, не надо: {} / не {} / не делай этого: {} / я не хочу этого: {} / {}, нет, забудь / этого не нужно: {} / {}, шучу / ни в коем случае: {} | кто сделал это: {} / когда ты сделал это: {} / почему ты вчера сделал это: {} / ты уже сделал это: {} / как это сделать: {} / почему никто не сделал это: {} / ты вчера сделал это: {} | и потом / и / а ещё | нет, я хотел сказать | пожалуйста | эээ / ну
sk | je zakázané: {} / prosím, nie: {} / ne{} / nerob toto: {} / nechcem, aby si robil toto: {} / {}, nie, zabudni na to / to nie je potrebné: {} / {}, žartujem / v žiadnom prípade: {} | kto urobil toto: {} / kedy si urobil toto: {} / prečo si včera urobil toto: {} / už si urobil toto: {} / ako sa robí toto: {} / prečo nikto neurobil toto: {} / urobil si včera toto: {} | a potom / a / a tiež | nie, chcel som povedať | prosím | ehm / no
sl | prepovedano je: {} / prosim, ne: {} / ne {} / ne naredi tega: {} / nočem, da narediš to: {} / {}, ne, pozabi / to ni potrebno: {} / {}, samo šalim se / nikakor ne: {} | kdo je naredil to: {} / kdaj si naredil to: {} / zakaj si včeraj naredil to: {} / si že naredil to: {} / kako se naredi to: {} / zakaj nihče ni naredil tega: {} / si včeraj naredil to: {} | in potem / in / in še | ne, mislim | prosim | hm / no
sr | забрањено је: {} / молим те, немој: {} / немој {} / немој да радиш ово: {} / не желим да радиш ово: {} / {}, не, заборави / то није потребно: {} / {}, шалим се / никако: {} | ко је урадио ово: {} / када си урадио ово: {} / зашто си јуче урадио ово: {} / да ли си већ урадио ово: {} / како се ради ово: {} / зашто нико није урадио ово: {} / да ли си јуче урадио ово: {} | и онда / и / и такође | не, мислим | молим те | овај / хм
sv | det är förbjudet: {} / låt bli det: {} / {} inte {} / gör inte detta: {} / jag vill inte att du gör detta: {} / {}, nej, glöm det / det behövs inte: {} / {}, jag skojar bara / under inga omständigheter: {} | vem gjorde detta: {} / när gjorde du detta: {} / varför gjorde du detta i går: {} / har du redan gjort detta: {} / hur gör man detta: {} / varför har ingen gjort detta: {} / gjorde du detta i går: {} | och sedan / och / och även | nej, jag menar | snälla | öh / alltså
th | ห้ามเด็ดขาด {} / ขอร้องอย่า{} / อย่า{} / ไม่ต้อง{} / {} ไม่เอาแล้ว / ไม่จำเป็นต้อง{} / {} ล้อเล่นนะ / ห้าม{} | ใครเป็นคน{} / เมื่อไหร่ที่{} / เมื่อวานทำไมถึง{} / เคย{}ไหม / จะ{}ได้ยังไง / ทำไมไม่มีใคร{} / เมื่อวานได้{}หรือเปล่า | แล้วก็ / และ / จากนั้น | ไม่ใช่ หมายถึง | กรุณา | เอ่อ / คือ
zh-CN | 禁止{} / 千万别{} / 请不要{} / 不要{} / 别{} / {}，算了不用了 / 没必要{} / {}，开玩笑的 / 绝对不能{} | 谁{}了 / 你什么时候{}的 / 昨天为什么{} / 你已经{}了吗 / 怎么才能{} / 为什么没人{} / 昨天有没有{} | 然后 / 并且 / 再 | 不对，我是说 | 请 | 嗯 / 那个
zh-TW | 禁止{} / 千萬別{} / 請不要{} / 不要{} / 別{} / {}，算了不用了 / 沒必要{} / {}，開玩笑的 / 絕對不能{} | 誰{}了 / 你什麼時候{}的 / 昨天為什麼{} / 你已經{}了嗎 / 怎麼才能{} / 為什麼沒人{} / 昨天有沒有{} | 然後 / 並且 / 再 | 不對，我是說 | 請 | 嗯 / 那個
""")

#: Languages without spaces between words, where noises follow directly.
UNSPACED: Final = frozenset({"th", "zh-CN", "zh-TW"})
LANGUAGES: Final = tuple(PHRASES)
WAKE: Final = ("hey jarvis", "ok nabu", "hey mycroft", "alexa", "computer", "okay house")
