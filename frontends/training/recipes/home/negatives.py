"""Requests that no intent of the package covers: questions, chat, other assistants' commands, and near misses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from chimerac.frontends.training.recipes.home.templates import Package, Template, parse_template

INTENT: Final = "OutOfDomain"

#: Lists of the templates below; lists that aren't here are kinds of NameMaker.
_LISTS: Final = {
    "subject": "history physics chemistry biology philosophy geometry grammar economics astronomy football tennis "
    "gardening photography poetry baking chess politics geology medicine law architecture mythology music_theory",
    "thing": "light_bulb telephone steam_engine wheel printing_press camera refrigerator compass microscope bicycle "
    "television radio zipper umbrella fan curtain doorbell thermostat vacuum_cleaner lamp lock clock",
    "animal": "dog cat horse elephant whale eagle penguin spider tiger kangaroo snail octopus bee shark giraffe camel",
    "body": "moon sun earth mars jupiter saturn milky_way ocean equator north_pole",
    "language": "french spanish german italian japanese chinese arabic latin swahili hindi polish greek turkish",
    "app": "browser calendar inbox spreadsheet editor document presentation terminal photo_album contact_list bank_app",
    "file": "report invoice photo contract budget slides resume screenshot recording newsletter",
    "day": "today tomorrow tonight monday tuesday wednesday thursday friday saturday sunday next_week this_weekend",
    "time": "noon midnight seven 6_am 7:30 eight_o'clock half_past_nine 10_pm 5:45 quarter_to_three",
    "goods": "pizza sushi flowers taxi table_for_two hotel_room plane_ticket train_ticket haircut rental_car burger",
    "feeling": "sad happy tired bored lonely excited nervous angry hungry thirsty sick sleepy stressed confused",
    "job": "doctor teacher lawyer plumber pilot nurse chef painter farmer engineer scientist president king",
    "unit": "miles kilometers pounds kilograms ounces gallons liters inches feet meters cups teaspoons",
    "currency": "dollars euros pounds yen francs rupees pesos kroner",
    "role": "pirate robot poet grandmother detective wizard cowboy professor comedian",
    "way": "left right north south east west straight_ahead",
    "road": "junction traffic_light roundabout corner bridge church gas_station",
    "sport": "football basketball tennis hockey cricket baseball golf rugby boxing cycling",
    "verb": "work_out relax swim read cook travel study dance sing sleep argue help paint run",
    "number": "2 3 4 5 7 8 9 11 12 15 17 20 24 25 36 48 64 81 99 100 120 144 250 365 512 1000",
}

_TEMPLATES: Final = """
(what is|what's) the capital of {place}
how (far|many {unit}) is it (to|from) {place} [to {place}]
how (big|old|hot|far away) is the {body}
why is the (sky|sea|grass|snow|blood) (blue|green|white|red)
who (invented|discovered|designed) the {thing}
when was the {thing} invented
who is the (president|king|queen|mayor) of {place}
who (was|is) {person} {made_up}
what does {made_up} mean
what is the meaning of (life|love|{made_up}|art)
how do you (spell|pronounce) {made_up}
how do (i|you) say {noun} in {language}
translate {noun} (to|into) {language}
(what is|what's|calculate) {number} (plus|minus|times|divided by) {number}
what is the square root of {number}
(convert|how much is) {number} {unit} (to|in) {unit}
(convert|how much is) {number} {currency} (to|in|into) {currency}
how many {unit} are (in|there in) a {unit}
how long do {animal}s live
what do {animal}s eat
how fast can a {animal} run
can (a|an) {animal} (swim|fly|climb|see in the dark)
tell me (a|another|one more) (joke|story|riddle|fun fact|poem|fairy tale)
tell me (about|something about|a fact about) ({subject}|{animal}s|{place}|the {body})
write (a|an|me a) (poem|song|story|essay|letter|email|haiku) (about|for) ({noun}s|{person}|the {adjective} {noun}|love)
explain {subject} [to me] [like i am five]
give me (a summary|an overview|the basics) of {subject}
what is the best (book|movie|course|website) (about|on) {subject}
recommend (a|some) (book|movie|podcast|restaurant)[s] [about {subject}]
(how are you|how do you do|how is it going) [{day}]
(good morning|good evening|good afternoon|good night) [everyone|{person}|to you]
i (am|feel) [so|very|really|a bit] {feeling} [{day}]
i (like|love|hate|miss) (you|{person}|{animal}s|{subject}|{place})
do you (like|love|know|hate) ({animal}s|{subject}|{person}|me|music)
are you (a robot|human|alive|real|{feeling}|smarter than {person}|there)
what is your (name|favorite color|favorite {animal}|age|job|opinion on {subject})
(thank you|thanks) [so much|a lot|{person}]
(you are|you're) (great|funny|stupid|useless|amazing|wrong|right)
(shut up|be quiet|go away|leave me alone)
(send|write) (an email|a message|a text) to {person} [about the {file}]
text {person} [that] i am (late|on my way|at the {road}|{feeling})
call {person} [on the phone|at work|right now]
(read|show|check) [me] my (emails|messages|notifications|voicemail|texts)
reply to {person} [and say] (yes|no|i will be late|see you {day}|thank you)
remind me to (call {person}|buy {food}|pay the bills|{verb}) [{day}] [at {time}]
set an alarm (for|at) {time} [{day}]
wake me up at {time} [{day}]
(cancel|delete|snooze) (my|the) alarm [for {time}]
(schedule|book|plan|cancel|move) (a|the|my) (meeting|appointment|call|interview) with {person} [{day}] [at {time}]
what is on my (calendar|schedule|agenda) [for] {day}
when is my (next meeting|flight|dentist appointment|birthday)
(order|get|book) [me] a {goods} [for {day}]
(order|buy) {number} {noun}s online
how much (does|do) (a|the) ({thing}|{goods}|{adjective} {noun}) cost
where can i (buy|find|get|rent) (a|an) ({thing}|{goods}|{noun})
(navigate|give me directions|take me|how do i get) to ({place}|the {road}|{person}'s house)
turn {way} at the next {road}
how long (does it take|will it take) to (drive|walk|fly) to {place}
is there (traffic|an accident|construction) on the way to {place}
(find|search for|look up) (a|the nearest|cheap) ({goods}|restaurant|hotel|pharmacy|parking) [near {place}]
(search|google|look up|browse) the (web|internet) for {subject}
open [my|the|a new] {app}
close [my|the] ({app}|{app} window|tab)
(print|save|rename|upload|download|share) (the|my|this) {file} [to {person}]
take a (photo|picture|screenshot|selfie|note)
(start|stop) recording [the {app}|my screen]
install (a|the) (update|printer driver|new {app}|game)
(what's|what is) the (score|result) of the {sport} (game|match) [in {place}]
who won the {sport} (game|match|championship) [last night|{day}]
when does {place} play [{day}]
what (is|was) the news [from {place}] [{day}]
(what's|what is) the (stock|share) price of {made_up}
(buy|sell) {number} shares of {made_up}
transfer {number} {currency} to {person}
how much money (is in|do i have in) my account
pay (the|my) (rent|electricity bill|credit card|parking ticket)
how do i (cook|bake|make|roast|store) {food}
what is a good recipe for {food} [and {food}]
how many calories (are|do) {food} have
is {food} good for (you|{animal}s|babies)
can i eat {food} after {time}
should i (wear|take|buy) (a|an) (umbrella|jacket|{adjective} {noun}) [{day}]
what should i (wear|cook|do|read|watch) {day}
how do i fix a (broken|leaking|squeaky|rusty) ({thing}|{noun})
how does a {thing} work
what is a {thing} made of
why (does|is) my {noun} (make noise|broken|so {adjective})
how many people live in {place}
(what is|what's) the population of {place}
what language do they speak in {place}
what time zone is {place} in
do i need a visa for {place}
(find|book) [me] a (flight|train|bus) (to|from) {place} [{day}]
is my (flight|train|package|order) (on time|late|delayed|here)
where is my (package|order|taxi|phone|wallet)
pretend (to be|you are) a {role}
talk like a {role}
(sing|hum) [me] a (song|lullaby) [about {animal}s]
let's (play|start) a (game|quiz|riddle)
(flip a coin|roll a die|pick a number|choose a card)
give me a (random number|name for my {animal}|compliment|quote)
(who|what) would win a {animal} or a {animal}
what is the difference between a {animal} and a {animal}
what is the (plural|opposite) of {adjective}
is {made_up} a word
(what is a|who is) {made_up}
{made_up} {made_up} {made_up} [{made_up}]
(why|how|when) did {person} {verb}
{person} (likes|wants|needs|forgot) (the|a|some) ({noun}|{goods}|{food})
the {adjective} {noun} (is|was|looks) (nice|{adjective}|broken|expensive|far away)
my {animal} (is|was|looks|feels) {feeling}
i (want|need|have) to {verb} [{day}] [with {person}]
i (bought|lost|broke|found|sold) (a|my|the) {adjective} {noun} [{day}]
(can|could|should) we {verb} [{day}|at {time}]
what happened (in|to) ({place}|{person}) [{day}]
who wrote (the|a) (book|song|play) about {noun}s
what is the (longest|tallest|oldest|biggest) (river|mountain|building|city) in {place}
how (tall|high|deep|long) is the (tower|bridge|lake|river) in {place}
(define|what is) {subject}
can you (help me|teach me|explain) [with] {subject}
i am (looking for|thinking about) a ({job}|{goods}|{noun})
how do i become a {job}
is {person} a good {job}
what does a {job} do
i have a (headache|cold|fever|question|problem|meeting {day})
what are the symptoms of (a cold|the flu|{made_up} disease)
(how old|how tall|how rich) is {person} [{made_up}]
who is married to {person} [{made_up}]
when is (christmas|easter|the next holiday|{person}'s birthday|the full moon)
how many days until (christmas|{day}|summer|{person}'s birthday)
what (year|century) (is it|was that|did that happen)
what day (was yesterday|is christmas|is easter)
(what's|what is) the (traffic|exchange rate|gas price|humidity record) in {place}
write (a|some) code (to|that) (sort a list|prints {noun}|adds {number} and {number})
(debug|compile|run|deploy) (the|my) (program|script|server|website)
restart (the|my) (computer|phone|router|server)
my (computer|phone|printer) is (broken|slow|frozen|too {adjective})
what is the wifi password
connect to the (internet|vpn|office network)
charge my (phone|tablet|laptop)
(increase|decrease) the font size [to {number}]
zoom (in|out) [on the map of {place}]
scroll (up|down) [a bit]
go (to|back to) the (previous|next|home) page
(copy|paste|delete|select) (the|this) (line|text|file|paragraph)
turn on (airplane mode|bluetooth|dark mode|do not disturb) on my phone
switch to the {app}
set my (status|profile picture|relationship) to ({feeling}|single|busy)
add {person} to my (contacts|friends|meeting)
remove {person} from (the group|my contacts|the meeting)
play a (game|trick|round of {sport}) with (me|{person})
start (the car|my engine|a new chapter|a {file})
stop (lying|talking|it|being {feeling})
close your eyes
open your (mouth|mind|heart)
lock my (phone|bike|account)
unlock (my|the) (phone|car|bike|account|next level)
""".strip().splitlines()  # fmt: skip


def out_of_domain(more: Sequence[str] = ()) -> Package:
    """Templates of requests to refuse, each its own group, and their lists; ``more``: others with the same lists."""
    lists: Mapping[str, Mapping[str, Any]] = {
        name: {"values": [{"in": _escape(word), "out": word} for word in words.split()]}
        for name, words in _LISTS.items()
    }
    templates = tuple(
        Template(f"{INTENT}/{k}", INTENT, INTENT, text, parse_template(text, {}), {}, ())
        for k, text in enumerate((*_TEMPLATES, *more))
    )
    return Package(templates, lists)


def _escape(word: str) -> str:
    return word.replace("_", " ")
