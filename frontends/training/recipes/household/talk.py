"""What people say that is no command, in each language but English, whose requests of that kind the recipe ``home`` has.

``{}`` stands for any words, or for a thing of the home. The last of a language is held out for validation.
"""

# ruff: noqa: E501  the table has one line for each language

from __future__ import annotations

from typing import Final

from chimerac.frontends.training.recipes.household.questions import QUESTIONS

#: English templates of what is said to a home and names no action that there is, with the lists of ``recipes/home/negatives``.
VAGUE: Final = tuple(
    """
(make|get) it (a bit|a little|much|) (warmer|cooler|colder|hotter|brighter|darker|quieter|louder|nicer|cozier) [in here]
(it's|it is) (too|really|very|a bit|so) (cold|hot|warm|dark|bright|loud|quiet|stuffy) [in here|in this room|today]
i (am|feel) (cold|hot|freezing|sweating)
turn (on|off) everything
turn everything (on|off) [in the house]
(switch|shut) (off|down) everything
(do|fix|change|start|stop|open|close|set) (it|that|this|something|them|those)
(turn|switch|put) (it|that|them) (on|off)
set (it|that) to {number} [degrees|percent]
(a bit|a little) (more|less)
(the same|again|once more|do it again|undo that|undo)
what should i do [now]
(i'm|i am|we're) (leaving|home|going out|going to bed|back)
(good bye|bye|see you|see you {day})
(the movie|dinner|the party|school) (starts|begins) [at {time}]
(prepare|get ready) for (the night|the party|dinner|a movie)
(save|use less) (energy|power|water)
(is|are) (everything|all) (okay|alright|fine|in order) [at home]
(anything|something) (wrong|new|going on) [at home]
(who|someone) is at the door
(somebody|someone|who) (left|forgot) (it|that|this) (open|on)
(the door|the window|the power|the internet) (is|seems) (stuck|broken|gone|jammed)
(alarm|wake up) at {time} [{day}]
(set|make|create) (a|an|the) (reminder|appointment|event|note) [for {time}] [{day}]
remind me [about {noun}|at {time}|to {verb}] [{day}]
(call|text|ring) (mom|dad|{person}|the police|an ambulance|the office)
(order|buy|get) (a|some|more) ({goods}|{food}|{noun}s)
(find|where is|where are) my (keys|phone|glasses|wallet|{animal})
show (something|anything) [else|nice|good]
(read|tell) (me|us) (a|the) (book|story|news|{noun})
({adjective} {noun}|{noun} {noun}|{noun})
({noun} {verb} {noun}|{adjective} {verb})
(what is|what's|is there anything) [still] (on|in) (my|the|our) [shopping|grocery|to do|todo] list
(read|show|tell|list|display|give) (me|us) (my|the|our) [shopping|grocery|to do|todo] list
(read|show|open|print) (my|the|our) [shopping|grocery|to do|todo] list [please]
(is|are) {goods} on (my|the|our) [shopping|grocery|todo] list
(do we|do i) have {goods} on (my|the|our) (shopping|grocery|todo) list
how many (things|items) are (on|in) (my|the|our) [shopping|grocery|to do|todo] list
(clear|empty|throw away|start) (my|the|our|a new) (shopping|grocery|to do|todo) list
(uh|um|test|testing|one two three|okay|yes|no|maybe|what|huh|wow|great)
""".strip().split("\n")
)
#: English sentences about a thing that ask for nothing; the last HELD_ABOUT are held out for validation.
ABOUT: Final = tuple(
    """
the {} is broken / the {} does not work / the {} is too loud / I bought a new {} / I like the {} / I love the {} / I hate the {}
where is the {} / where did I put the {} / how does the {} work / how old is the {} / how much was the {} / what color is the {}
who broke the {} / who used the {} / who left the {} on / clean the {} / fix the {} / move the {} / paint the {} / buy a {}
tell me about the {} / tell me a story about the {} / write a poem about the {} / what do you think of the {} / is the {} expensive
the {} was expensive / the {} looks nice / the {} needs a new battery / we need a {} / my sister has a {} too / sell the {}
the {} makes a strange noise / why is the {} so slow / why is it called {} / can you see the {} / do we have a {} / throw away the {}
I dreamt of the {} / my mother was in the {} / there is a cat in the {} / we had dinner in the {} / let us meet in the {}
someone is in the {} / the {} is dirty / the {} is my favorite / {} is a funny name / {} and so on / the {} again / about the {}
a picture of the {} / draw the {} / call the {} / email the {} / the {} is from my uncle / I will clean the {} tomorrow
order a {} / who made the {} / when did we buy the {} / I was told that the {} is new / the {} stopped working yesterday
""".replace("\n", " / ")
    .strip(" /")
    .split(" / ")
)
HELD_ABOUT: Final = 6

_TABLE: Final = """
ar | كم عمر {} / احك لي عن {} / اكتب قصيدة عن {} / أنا أحب {} / كم سعر {} / من هو {} / ترجم {} إلى الإنجليزية / {} معطل منذ أمس / كيف يعمل {} / اشتريت {} جديدا / ما رأيك في {} / ما هي عاصمة {}
bg | на колко години е {} / разкажи ми за {} / напиши стихотворение за {} / харесвам {} / колко струва {} / кой е {} / преведи {} на английски / {} се развали вчера / как работи {} / купих нов {} / какво мислиш за {} / коя е столицата на {}
ca | quants anys té {} / explica'm alguna cosa de {} / escriu un poema sobre {} / m'agrada {} / quant costa {} / qui és {} / tradueix {} a l'anglès / {} es va espatllar ahir / com funciona {} / he comprat {} nou / què en penses de {} / quina és la capital de {}
cs | kolik let má {} / řekni mi něco o {} / napiš báseň o {} / mám rád {} / kolik stojí {} / kdo je {} / přelož {} do angličtiny / {} se včera rozbil / jak funguje {} / koupil jsem nový {} / co si myslíš o {} / jaké je hlavní město {}
da | hvor gammel er {} / fortæl mig om {} / skriv et digt om {} / jeg kan godt lide {} / hvad koster {} / hvem er {} / oversæt {} til engelsk / {} gik i stykker i går / hvordan virker {} / jeg har købt en ny {} / hvad synes du om {} / hvad er hovedstaden i {}
de | wie alt ist {} / erzähl mir etwas über {} / schreib ein Gedicht über {} / ich mag {} / was kostet {} / wer ist {} / übersetze {} ins Englische / {} ist seit gestern kaputt / wie funktioniert {} / ich habe {} neu gekauft / was hältst du von {} / bestell mir {} / was ist die Hauptstadt von {}
el | πόσο χρονών είναι {} / πες μου για {} / γράψε ένα ποίημα για {} / μου αρέσει {} / πόσο κοστίζει {} / ποιος είναι {} / μετάφρασε {} στα αγγλικά / {} χάλασε χθες / πώς λειτουργεί {} / αγόρασα καινούριο {} / τι γνώμη έχεις για {} / ποια είναι η πρωτεύουσα {}
es | cuántos años tiene {} / cuéntame algo sobre {} / escribe un poema sobre {} / me gusta {} / cuánto cuesta {} / quién es {} / traduce {} al inglés / {} se rompió ayer / cómo funciona {} / compré {} nuevo / qué opinas de {} / cuál es la capital de {}
eu | zenbat urte ditu {} / kontatu zerbait {} buruz / idatzi olerki bat {} buruz / gustatzen zait {} / zenbat balio du {} / nor da {} / itzuli {} ingelesera / {} atzo hondatu zen / nola dabil {} / {} berria erosi dut / zer iruditzen zaizu {} / zein da {} hiriburua
fi | kuinka vanha on {} / kerro minulle jotain aiheesta {} / kirjoita runo aiheesta {} / pidän siitä että {} / paljonko maksaa {} / kuka on {} / käännä {} englanniksi / {} hajosi eilen / miten toimii {} / ostin uuden {} / mitä mieltä olet {} / mikä on pääkaupunki maassa {}
fr | quel âge a {} / parle-moi de {} / écris un poème sur {} / j'aime {} / combien coûte {} / qui est {} / traduis {} en anglais / {} est cassé depuis hier / comment fonctionne {} / j'ai acheté {} neuf / que penses-tu de {} / quelle est la capitale de {}
gl | cantos anos ten {} / cóntame algo sobre {} / escribe un poema sobre {} / gústame {} / canto custa {} / quen é {} / traduce {} ao inglés / {} rompeu onte / como funciona {} / merquei {} novo / que opinas de {} / cal é a capital de {}
hr | koliko godina ima {} / ispričaj mi nešto o {} / napiši pjesmu o {} / sviđa mi se {} / koliko košta {} / tko je {} / prevedi {} na engleski / {} se jučer pokvario / kako radi {} / kupio sam novi {} / što misliš o {} / koji je glavni grad {}
hu | hány éves {} / mesélj valamit erről: {} / írj verset erről: {} / szeretem ezt: {} / mennyibe kerül {} / kicsoda {} / fordítsd angolra: {} / {} tegnap elromlott / hogyan működik {} / vettem egy új {} / mit gondolsz erről: {} / mi a fővárosa ennek: {}
it | quanti anni ha {} / raccontami qualcosa su {} / scrivi una poesia su {} / mi piace {} / quanto costa {} / chi è {} / traduci {} in inglese / {} si è rotto ieri / come funziona {} / ho comprato {} nuovo / cosa pensi di {} / qual è la capitale di {}
ml | {} എത്ര വയസ്സായി / {} കുറിച്ച് പറയൂ / {} കുറിച്ച് ഒരു കവിത എഴുതൂ / എനിക്ക് {} ഇഷ്ടമാണ് / {} എത്ര വിലയാണ് / ആരാണ് {} / {} ഇംഗ്ലീഷിലേക്ക് മാറ്റൂ / {} ഇന്നലെ കേടായി / {} എങ്ങനെ പ്രവർത്തിക്കുന്നു / ഞാൻ പുതിയ {} വാങ്ങി / {} കുറിച്ച് എന്ത് തോന്നുന്നു / {} തലസ്ഥാനം ഏതാണ്
nb | hvor gammel er {} / fortell meg om {} / skriv et dikt om {} / jeg liker {} / hva koster {} / hvem er {} / oversett {} til engelsk / {} gikk i stykker i går / hvordan virker {} / jeg har kjøpt en ny {} / hva synes du om {} / hva er hovedstaden i {}
nl | hoe oud is {} / vertel me iets over {} / schrijf een gedicht over {} / ik hou van {} / wat kost {} / wie is {} / vertaal {} naar het Engels / {} is sinds gisteren kapot / hoe werkt {} / ik heb een nieuwe {} gekocht / wat vind je van {} / wat is de hoofdstad van {}
pl | ile lat ma {} / opowiedz mi o {} / napisz wiersz o {} / lubię {} / ile kosztuje {} / kim jest {} / przetłumacz {} na angielski / {} wczoraj się zepsuł / jak działa {} / kupiłem nowy {} / co sądzisz o {} / jaka jest stolica {}
pt | quantos anos tem {} / conta-me algo sobre {} / escreve um poema sobre {} / eu gosto de {} / quanto custa {} / quem é {} / traduz {} para inglês / {} avariou ontem / como funciona {} / comprei {} novo / o que achas de {} / qual é a capital de {}
pt-BR | quantos anos tem {} / me conte algo sobre {} / escreva um poema sobre {} / eu gosto de {} / quanto custa {} / quem é {} / traduza {} para inglês / {} quebrou ontem / como funciona {} / comprei {} novo / o que você acha de {} / qual é a capital de {}
ro | câți ani are {} / povestește-mi despre {} / scrie o poezie despre {} / îmi place {} / cât costă {} / cine este {} / tradu {} în engleză / {} s-a stricat ieri / cum funcționează {} / am cumpărat {} nou / ce părere ai despre {} / care este capitala {}
ru | сколько лет {} / расскажи мне о {} / напиши стихотворение про {} / мне нравится {} / сколько стоит {} / кто такой {} / переведи {} на английский / {} вчера сломался / как работает {} / я купил новый {} / что ты думаешь о {} / какая столица у {}
sk | koľko rokov má {} / povedz mi niečo o {} / napíš báseň o {} / mám rád {} / koľko stojí {} / kto je {} / prelož {} do angličtiny / {} sa včera pokazil / ako funguje {} / kúpil som nový {} / čo si myslíš o {} / aké je hlavné mesto {}
sl | koliko let ima {} / povej mi kaj o {} / napiši pesem o {} / všeč mi je {} / koliko stane {} / kdo je {} / prevedi {} v angleščino / {} se je včeraj pokvaril / kako deluje {} / kupil sem nov {} / kaj misliš o {} / katero je glavno mesto {}
sr | колико година има {} / испричај ми нешто о {} / напиши песму о {} / свиђа ми се {} / колико кошта {} / ко је {} / преведи {} на енглески / {} се јуче покварио / како ради {} / купио сам нов {} / шта мислиш о {} / који је главни град {}
sv | hur gammal är {} / berätta något om {} / skriv en dikt om {} / jag gillar {} / vad kostar {} / vem är {} / översätt {} till engelska / {} gick sönder i går / hur fungerar {} / jag har köpt en ny {} / vad tycker du om {} / vad är huvudstaden i {}
th | {}อายุเท่าไหร่ / เล่าเรื่อง{}ให้ฟังหน่อย / แต่งกลอนเกี่ยวกับ{} / ฉันชอบ{} / {}ราคาเท่าไหร่ / {}คือใคร / แปล{}เป็นภาษาอังกฤษ / {}เสียเมื่อวาน / {}ทำงานยังไง / ฉันซื้อ{}ใหม่ / คิดยังไงกับ{} / เมืองหลวงของ{}คืออะไร
zh-CN | {}多大了 / 给我讲讲{} / 写一首关于{}的诗 / 我喜欢{} / {}多少钱 / {}是谁 / 把{}翻译成英语 / {}昨天坏了 / {}是怎么工作的 / 我买了新的{} / 你觉得{}怎么样 / {}的首都是哪里
zh-TW | {}幾歲了 / 跟我說說{} / 寫一首關於{}的詩 / 我喜歡{} / {}多少錢 / {}是誰 / 把{}翻譯成英文 / {}昨天壞了 / {}是怎麼運作的 / 我買了新的{} / 你覺得{}怎麼樣 / {}的首都是哪裡
"""

_SAID: Final = {
    language.strip(): tuple(one.strip() for one in cell.split("/"))
    for language, cell in (line.split("|") for line in _TABLE.strip().splitlines())
}
#: Language → sentences.
TALK: Final[dict[str, tuple[str, ...]]] = {
    language: (*said[:-1], *QUESTIONS[language], said[-1]) for language, said in _SAID.items()
}
