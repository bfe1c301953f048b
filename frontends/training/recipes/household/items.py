"""What people put on lists, in each language but English, whose words are those of the recipe ``home``."""

from __future__ import annotations

from typing import Final

_TABLE: Final = """
ar | حليب / خبز / بيض / زبدة / تفاح / قهوة / أرز / مناديل ورقية / زيت زيتون / غسل السيارة
bg | мляко / хляб / яйца / масло / ябълки / кафе / ориз / тоалетна хартия / зехтин / измий колата
ca | llet / pa / ous / mantega / pomes / cafè / arròs / paper de vàter / oli d'oliva / rentar el cotxe
cs | mléko / chleba / vejce / máslo / jablka / káva / rýže / toaletní papír / olivový olej / umýt auto
da | mælk / brød / æg / smør / æbler / kaffe / ris / toiletpapir / olivenolie / vaske bilen
de | Milch / Brot / Eier / Butter / Äpfel / Kaffee / Reis / Klopapier / zwei Flaschen Olivenöl / Auto waschen
el | γάλα / ψωμί / αυγά / βούτυρο / μήλα / καφές / ρύζι / χαρτί υγείας / ελαιόλαδο / πλύσιμο αυτοκινήτου
es | leche / pan / huevos / mantequilla / manzanas / café / arroz / papel higiénico / aceite de oliva / lavar el coche
eu | esnea / ogia / arrautzak / gurina / sagarrak / kafea / arroza / komuneko papera / oliba olioa / autoa garbitu
fi | maitoa / leipää / kananmunia / voita / omenoita / kahvia / riisiä / vessapaperia / oliiviöljyä / pese auto
fr | lait / pain / œufs / beurre / pommes / café / riz / papier toilette / huile d'olive / laver la voiture
gl | leite / pan / ovos / manteiga / mazás / café / arroz / papel hixiénico / aceite de oliva / lavar o coche
hr | mlijeko / kruh / jaja / maslac / jabuke / kava / riža / toaletni papir / maslinovo ulje / oprati auto
hu | tej / kenyér / tojás / vaj / alma / kávé / rizs / vécépapír / olívaolaj / autómosás
it | latte / pane / uova / burro / mele / caffè / riso / carta igienica / olio d'oliva / lavare la macchina
ml | പാൽ / റൊട്ടി / മുട്ട / വെണ്ണ / ആപ്പിൾ / കാപ്പി / അരി / സോപ്പ് / വെളിച്ചെണ്ണ / കാർ കഴുകൽ
nb | melk / brød / egg / smør / epler / kaffe / ris / dopapir / olivenolje / vaske bilen
nl | melk / brood / eieren / boter / appels / koffie / rijst / wc-papier / olijfolie / auto wassen
pl | mleko / chleb / jajka / masło / jabłka / kawa / ryż / papier toaletowy / oliwa / umyć samochód
pt | leite / pão / ovos / manteiga / maçãs / café / arroz / papel higiénico / azeite / lavar o carro
pt-BR | leite / pão / ovos / manteiga / maçãs / café / arroz / papel higiênico / azeite / lavar o carro
ro | lapte / pâine / ouă / unt / mere / cafea / orez / hârtie igienică / ulei de măsline / spălat mașina
ru | молоко / хлеб / яйца / масло / яблоки / кофе / рис / туалетная бумага / оливковое масло / помыть машину
sk | mlieko / chlieb / vajcia / maslo / jablká / káva / ryža / toaletný papier / olivový olej / umyť auto
sl | mleko / kruh / jajca / maslo / jabolka / kava / riž / toaletni papir / oljčno olje / oprati avto
sr | млеко / хлеб / јаја / путер / јабуке / кафа / пиринач / тоалет папир / маслиново уље / опрати ауто
sv | mjölk / bröd / ägg / smör / äpplen / kaffe / ris / toalettpapper / olivolja / tvätta bilen
th | นม / ขนมปัง / ไข่ไก่ / เนย / แอปเปิล / กาแฟ / ข้าวสาร / กระดาษทิชชู / น้ำมันมะกอก / ล้างรถ
zh-CN | 牛奶 / 面包 / 鸡蛋 / 黄油 / 苹果 / 咖啡 / 大米 / 卫生纸 / 橄榄油 / 洗车
zh-TW | 牛奶 / 麵包 / 雞蛋 / 奶油 / 蘋果 / 咖啡 / 白米 / 衛生紙 / 橄欖油 / 洗車
"""

#: Language → items.
ITEMS: Final[dict[str, tuple[str, ...]]] = {
    language.strip(): tuple(one.strip() for one in cell.split("/"))
    for language, cell in (line.split("|") for line in _TABLE.strip().splitlines())
}
