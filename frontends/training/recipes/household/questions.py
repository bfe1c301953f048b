"""What people ask about the world, in each language but English: none of it is about a home, whatever name is in it.

``{}`` stands for any words, or for a thing of the home. That a question has a shape that those of a home have too ("what
is the … of …") is what a model learns from them.
"""

# ruff: noqa: E501  the table has one line for each language

from __future__ import annotations

from typing import Final

_TABLE: Final = """
ar | من هو رئيس {} / كم عدد سكان {} / ما هي لغة {} / كم تبعد {} من هنا / متى ولد {} / ماذا تعني كلمة {} / من كتب {} / ما هي عملة {} / ما هو تاريخ {} / ما هي أكبر مدينة في {}
bg | кой е президентът на {} / колко хора живеят в {} / какъв език се говори в {} / колко далече е {} / кога е роден {} / какво означава {} / кой е написал {} / каква е валутата на {} / каква е историята на {} / кой е най-големият град в {}
ca | qui és el president de {} / quanta gent viu a {} / quina llengua es parla a {} / a quina distància és {} / quan va néixer {} / què vol dir {} / qui va escriure {} / quina és la moneda de {} / quina és la història de {} / quina és la ciutat més gran de {}
cs | kdo je prezidentem {} / kolik lidí žije v {} / jakým jazykem se mluví v {} / jak daleko je {} / kdy se narodil {} / co znamená {} / kdo napsal {} / jaká je měna {} / jaká je historie {} / jaké je největší město {}
da | hvem er præsident i {} / hvor mange mennesker bor der i {} / hvilket sprog taler man i {} / hvor langt er der til {} / hvornår blev {} født / hvad betyder {} / hvem skrev {} / hvad er valutaen i {} / hvad er historien om {} / hvad er den største by i {}
de | wer ist der Präsident von {} / wie viele Menschen leben in {} / welche Sprache spricht man in {} / wie weit ist es bis {} / wann wurde {} geboren / was bedeutet {} / wer hat {} geschrieben / was ist die Währung von {} / was ist die Geschichte von {} / welche ist die größte Stadt von {}
el | ποιος είναι ο πρόεδρος {} / πόσοι άνθρωποι ζουν σε {} / ποια γλώσσα μιλάνε σε {} / πόσο μακριά είναι {} / πότε γεννήθηκε {} / τι σημαίνει {} / ποιος έγραψε {} / ποιο είναι το νόμισμα {} / ποια είναι η ιστορία {} / ποια είναι η μεγαλύτερη πόλη {}
es | quién es el presidente de {} / cuánta gente vive en {} / qué idioma se habla en {} / a qué distancia está {} / cuándo nació {} / qué significa {} / quién escribió {} / cuál es la moneda de {} / cuál es la historia de {} / cuál es la ciudad más grande de {}
eu | nor da {} presidentea / zenbat jende bizi da {} herrian / zein hizkuntza hitz egiten da {} herrian / zein urrun dago {} / noiz jaio zen {} / zer esan nahi du {} / nork idatzi zuen {} / zein da {} moneta / zein da {} historia / zein da {} hiririk handiena
fi | kuka on presidentti maassa {} / kuinka monta ihmistä asuu paikassa {} / mitä kieltä puhutaan maassa {} / kuinka kaukana on {} / milloin syntyi {} / mitä tarkoittaa {} / kuka kirjoitti kirjan {} / mikä on valuutta maassa {} / mikä on historia paikalla {} / mikä on suurin kaupunki maassa {}
fr | qui est le président de {} / combien d'habitants y a-t-il à {} / quelle langue parle-t-on en {} / à quelle distance est {} / quand est né {} / que veut dire {} / qui a écrit {} / quelle est la monnaie de {} / quelle est l'histoire de {} / quelle est la plus grande ville de {}
gl | quen é o presidente de {} / canta xente vive en {} / que lingua se fala en {} / a que distancia está {} / cando naceu {} / que significa {} / quen escribiu {} / cal é a moeda de {} / cal é a historia de {} / cal é a cidade máis grande de {}
hr | tko je predsjednik {} / koliko ljudi živi u {} / koji se jezik govori u {} / koliko je daleko {} / kada je rođen {} / što znači {} / tko je napisao {} / koja je valuta {} / koja je povijest {} / koji je najveći grad {}
hu | ki az elnöke ennek: {} / hányan élnek itt: {} / milyen nyelven beszélnek itt: {} / milyen messze van {} / mikor született {} / mit jelent {} / ki írta ezt: {} / mi a pénzneme ennek: {} / mi a története ennek: {} / mi a legnagyobb városa ennek: {}
it | chi è il presidente di {} / quante persone vivono a {} / che lingua si parla in {} / quanto dista {} / quando è nato {} / cosa significa {} / chi ha scritto {} / qual è la moneta di {} / qual è la storia di {} / qual è la città più grande di {}
ml | {} പ്രസിഡന്റ് ആരാണ് / {} എത്ര പേർ താമസിക്കുന്നു / {} ഏത് ഭാഷയാണ് സംസാരിക്കുന്നത് / {} എത്ര ദൂരെയാണ് / {} എപ്പോഴാണ് ജനിച്ചത് / {} എന്ന വാക്കിന്റെ അർത്ഥം എന്താണ് / {} എഴുതിയത് ആരാണ് / {} കറൻസി ഏതാണ് / {} ചരിത്രം എന്താണ് / {} ഏറ്റവും വലിയ നഗരം ഏതാണ്
nb | hvem er president i {} / hvor mange bor i {} / hvilket språk snakker man i {} / hvor langt er det til {} / når ble {} født / hva betyr {} / hvem skrev {} / hva er valutaen i {} / hva er historien til {} / hva er den største byen i {}
nl | wie is de president van {} / hoeveel mensen wonen er in {} / welke taal spreekt men in {} / hoe ver is het naar {} / wanneer is {} geboren / wat betekent {} / wie schreef {} / wat is de munt van {} / wat is de geschiedenis van {} / wat is de grootste stad van {}
pl | kto jest prezydentem {} / ilu ludzi mieszka w {} / jakim językiem mówi się w {} / jak daleko jest do {} / kiedy urodził się {} / co znaczy {} / kto napisał {} / jaka jest waluta {} / jaka jest historia {} / jakie jest największe miasto {}
pt | quem é o presidente de {} / quantas pessoas vivem em {} / que língua se fala em {} / a que distância fica {} / quando nasceu {} / o que significa {} / quem escreveu {} / qual é a moeda de {} / qual é a história de {} / qual é a maior cidade de {}
pt-BR | quem é o presidente de {} / quantas pessoas moram em {} / que língua se fala em {} / qual a distância até {} / quando nasceu {} / o que quer dizer {} / quem escreveu {} / qual é a moeda de {} / qual é a história de {} / qual é a maior cidade de {}
ro | cine este președintele din {} / câți oameni locuiesc în {} / ce limbă se vorbește în {} / cât de departe este {} / când s-a născut {} / ce înseamnă {} / cine a scris {} / care este moneda din {} / care este istoria {} / care este cel mai mare oraș din {}
ru | кто президент {} / сколько людей живёт в {} / на каком языке говорят в {} / как далеко до {} / когда родился {} / что значит {} / кто написал {} / какая валюта у {} / какая история у {} / какой самый большой город у {}
sk | kto je prezidentom {} / koľko ľudí žije v {} / akým jazykom sa hovorí v {} / ako ďaleko je {} / kedy sa narodil {} / čo znamená {} / kto napísal {} / aká je mena {} / aká je história {} / aké je najväčšie mesto {}
sl | kdo je predsednik {} / koliko ljudi živi v {} / kateri jezik govorijo v {} / kako daleč je {} / kdaj se je rodil {} / kaj pomeni {} / kdo je napisal {} / katera je valuta {} / katera je zgodovina {} / katero je največje mesto {}
sr | ко је председник {} / колико људи живи у {} / којим језиком се говори у {} / колико је далеко {} / када је рођен {} / шта значи {} / ко је написао {} / која је валута {} / која је историја {} / који је највећи град {}
sv | vem är president i {} / hur många bor i {} / vilket språk talar man i {} / hur långt är det till {} / när föddes {} / vad betyder {} / vem skrev {} / vad är valutan i {} / vad är historien om {} / vad är den största staden i {}
th | ใครเป็นประธานาธิบดีของ{} / {}มีคนอยู่กี่คน / คนใน{}พูดภาษาอะไร / {}อยู่ไกลแค่ไหน / {}เกิดเมื่อไหร่ / {}แปลว่าอะไร / ใครเขียน{} / สกุลเงินของ{}คืออะไร / ประวัติของ{}คืออะไร / เมืองที่ใหญ่ที่สุดของ{}คืออะไร
zh-CN | {}的总统是谁 / {}有多少人口 / {}说什么语言 / {}离这里有多远 / {}是什么时候出生的 / {}是什么意思 / {}是谁写的 / {}的货币是什么 / {}的历史是什么 / {}最大的城市是哪里
zh-TW | {}的總統是誰 / {}有多少人口 / {}說什麼語言 / {}離這裡有多遠 / {}是什麼時候出生的 / {}是什麼意思 / {}是誰寫的 / {}的貨幣是什麼 / {}的歷史是什麼 / {}最大的城市是哪裡
"""

#: Language → sentences.
QUESTIONS: Final[dict[str, tuple[str, ...]]] = {
    language.strip(): tuple(one.strip() for one in cell.split("/"))
    for language, cell in (line.split("|") for line in _TABLE.strip().splitlines())
}
