"""Words that names of rooms, devices, people, places, items and titles are put together from; no brands."""

from __future__ import annotations

from typing import Final


def word_list(text: str) -> tuple[str, ...]:
    """The words of a text; "_" stands for a space in a word."""
    return tuple(word.replace("_", " ") for word in text.split())


ADJECTIVES: Final = word_list("""
    left right small big tall short long round square old new bright dim soft warm cool red blue green yellow white
    black grey silver golden brown purple pink orange scarlet crimson amber ivory copper brass bronze wooden glass
    metal paper velvet marble crystal bamboo linen leather ceramic plastic spare second third main upper lower inner
    outer front back rear side middle central north south east west northern southern eastern western corner smart
    tiny large narrow wide heavy quiet loud fancy vintage modern antique portable hanging standing floating hidden
    secret lonely happy sleepy lazy busy crooked shiny matte striped spotted fluffy dusty rusty frosted tinted arched
    curved folding sliding rotating automatic manual emergency temporary winter summer spring autumn festive solar
    wireless retro royal rustic nautical tropical arctic cosmic lunar stellar oval slim double triple single
""")

NOUNS: Final = word_list("""
    desk bed reading night table ceiling wall corner window shelf bookcase mirror piano sofa couch chair bench cabinet
    closet wardrobe counter sink stove oven bar island aquarium terrarium plant orchid cactus fireplace mantel tv
    screen monitor stage studio easel workbench tool craft sewing hobby game puzzle chess gym yoga treadmill bike
    laundry ironing vanity makeup shower bath towel cat dog rabbit hamster parrot pet crib toddler nursery homework
    guest visitor party dinner breakfast lunch cocktail tea coffee wine cheese bread spice fruit candle lantern moon
    star cloud rainbow sunset sunrise forest ocean river mountain desert meadow garden tree bush hedge pond fountain
    path gate fence shed mailbox bicycle car trailer boat pool sauna spa step stair landing banister rail skylight
    dormer balcony porch awning umbrella hammock swing grill smoker fridge freezer pantry compost bin recycling water
    rain wind storm snow ice fire smoke gas power solar battery grid pump boiler radiator vent duct filter attic_hatch
    trophy poster picture painting statue clock globe map guitar drum violin record book comic magazine toy doll train
    robot rocket dinosaur dragon unicorn castle pirate wizard fairy mermaid penguin owl fox bear tiger elephant giraffe
    turtle dolphin whale lobster butterfly beetle sparrow falcon raven swan peacock tulip rose lily daisy sunflower
    maple willow cedar birch pine olive lemon cherry peach mango coconut pepper ginger mint basil
""")

PEOPLE: Final = word_list("""
    Anna Ben Clara David Emma Felix Grace Henry Isla Jack Kira Leo Mia Noah Olivia Paul Quinn Rosa Sam Tara Umar Vera
    Will Xenia Yusuf Zoe Aisha Bjorn Carlos Dmitri Elena Fatima Giulia Hiro Ines Jamal Keiko Lars Mateo Nadia Omar
    Priya Rahul Sofia Tomas Ursula Viktor Wanda Ximena Yara Zane Abigail Albert Alice Amir Andre Astrid Beatrice Boris
    Bruno Camila Cedric Chen Chloe Connor Daphne Diego Edith Eduardo Elias Esther Ethan Eva Farid Fiona Frida Gabriel
    George Greta Hana Harold Helga Hugo Ibrahim Igor Ingrid Irene Ivan Ivy Jasmine Javier Joan Jonas Judith Julia
    Kamal Karim Kofi Lena Liam Lucia Luis Maeve Malik Marco Margaret Maria Martin Maya Mei Milo Mohammed Monica Nina
    Nora Odin Oscar Otto Pablo Penelope Petra Philip Rafael Ravi Rhea Rita Robert Rohan Ruth Sanjay Sara Selma Simon
    Stella Sven Tariq Theo Thomas Tina Uma Victoria Vikram Walter Wei Willow Yan Yasmin Yuki Zara Zuri Grandma Grandpa
    Mom Dad
""")

#: Bare room words; an area is one of them, or ends with one.
ROOMS: Final = word_list("""
    kitchen bedroom bathroom living_room dining_room office hallway garage basement attic_room nursery pantry study
    library den lounge family_room guest_room playroom laundry_room utility_room mudroom sunroom workshop closet_room
    entryway foyer hall corridor balcony patio porch deck terrace garden backyard front_yard courtyard greenhouse
    conservatory wine_cellar gym sauna studio game_room music_room media_room theater master_bedroom kids_room
    toilet shower_room dressing_room boiler_room storage_room driveway carport barn stable poolhouse
""")

#: Room words that no training sentence has; they follow "in" and the like, where any word is an area.
UNSEEN_ROOMS: Final = word_list("""
    scullery veranda solarium snug larder atrium parlour boudoir drawing_room loggia vestibule gallery chapel dairy
    orangery cloakroom observatory bunkhouse pergola gazebo
""")

#: Last words of an area with a first part that tells it apart: "Anna's room", "blue suite".
ROOM_HEADS: Final = word_list("""
    room bedroom bathroom office studio hall lounge kitchen suite cellar workshop hallway corridor terrace patio
    balcony garden nursery den closet
""")

FLOORS: Final = word_list("""
    ground_floor first_floor second_floor third_floor fourth_floor top_floor upper_floor lower_floor main_floor
    upstairs downstairs basement_level mezzanine loft attic cellar_level
""")

FLOOR_HEADS: Final = word_list("floor level storey")

#: Domain of a device → last words of its names. No word is in two domains, so that a name tells its domain.
HEADS: Final[dict[str, tuple[str, ...]]] = {
    "light": word_list("lamp light lights spotlight chandelier led_strip lightstrip bulb night_light sconce"),
    "switch": word_list(
        "switch plug outlet socket power_strip kettle coffee_maker heater_plug toaster pump relay charger"
    ),
    "fan": word_list("fan ventilator ceiling_fan blower exhaust_fan"),
    "media_player": word_list("speaker tv television radio soundbar stereo speakers projector media_box receiver"),
    "input_boolean": word_list("mode toggle flag"),
    "climate": word_list("thermostat air_conditioner heat_pump AC heating heater"),
    "cover": word_list("blind blinds curtain curtains shade shades shutter shutters awning garage_door gate"),
    "valve": word_list("valve tap water_valve faucet sprinkler_valve"),
    "lock": word_list("door lock deadbolt door_lock padlock"),
    "binary_sensor": word_list("sensor detector contact window_sensor door_sensor motion_sensor presence_sensor"),
    "sensor": word_list("humidity power energy_usage battery_level air_quality pressure voltage water_level meter"),
    "vacuum": word_list("vacuum hoover robot_vacuum vacuum_cleaner robovac"),
    "lawn_mower": word_list("mower lawn_mower mowing_robot robot_mower"),
    "button": word_list("doorbell bell alarm siren remote"),
    "script": word_list("routine sequence procedure program"),
    "todo": word_list("chores errands groceries tasks things to-dos"),
}

SCENES: Final = word_list("""
    movie_night romantic_dinner bedtime party relax focus dinner_time reading_time sunset_glow
    cozy_evening rainy_day game_night work_time wake_up cinema candlelight date_night energize chill sunday_brunch
    arrival departure vacation away_mode holiday_cheer starry_sky deep_sleep story_time concert_mood
""")

LISTS: Final = word_list("""
    grocery packing chores hardware_store wish birthday christmas camping reading homework cleaning garden wedding
    travel work weekend pharmacy party moving renovation bucket gift movie school baby holiday office recipe
""")

ZONES: Final = word_list("""
    home work school university gym airport hospital library_building supermarket mall church park cinema stadium
    harbour station restaurant clinic beach_house cabin kindergarten dentist bakery town_hall
""")

ZONE_HEADS: Final = word_list("school gym park station clinic cabin mall campus stadium restaurant")

PLACES: Final = word_list("""
    London Paris Berlin Madrid Rome Vienna Oslo Stockholm Helsinki Copenhagen Dublin Lisbon Athens Warsaw Prague
    Budapest Amsterdam Brussels Zurich Boston Chicago Denver Seattle Toronto Montreal Tokyo Kyoto Seoul Beijing
    Shanghai Delhi Mumbai Cairo Nairobi Lagos Lima Bogota Santiago Sydney Melbourne Auckland Reykjavik Istanbul
    New_York San_Francisco Los_Angeles Cape_Town Buenos_Aires Hong_Kong Mexico_City
""")

FOODS: Final = word_list("""
    milk bread butter eggs cheese yogurt apples bananas oranges lemons grapes strawberries tomatoes potatoes onions
    garlic carrots spinach lettuce cucumbers peppers mushrooms rice pasta noodles flour sugar salt honey jam cereal
    oats coffee tea juice water beer wine chocolate cookies crackers chips nuts almonds chicken beef pork salmon tuna
    shrimp tofu beans lentils chickpeas olive_oil vinegar mustard ketchup mayonnaise soy_sauce cinnamon ginger parsley
    avocados blueberries pears melons zucchini broccoli celery corn peas cream ice_cream sausages bacon ham turkey
""")

GOODS: Final = word_list("""
    soap shampoo toothpaste toilet_paper paper_towels dish_soap detergent sponges trash_bags light_bulbs batteries
    nails screws tape glue paint brushes envelopes stamps pencils notebooks candles matches napkins diapers cat_food
    dog_food bird_seed potting_soil fertilizer charcoal sunscreen bandages aspirin vitamins socks gloves umbrella
""")

CHORES: Final = word_list("""
    call_the_plumber water_the_plants pay_the_bills walk_the_dog clean_the_windows fix_the_bike mow_the_lawn
    book_the_dentist return_the_books wash_the_car iron_the_shirts feed_the_fish back_up_the_photos sharpen_the_knives
    renew_the_passport sort_the_laundry defrost_the_freezer write_the_report visit_grandma charge_the_batteries
""")

AMOUNTS: Final = word_list("""
    a_bag_of two_bottles_of a_box_of a_dozen some three_cans_of a_pack_of fresh frozen organic a_kilo_of more a_jar_of
    half_a_pound_of two a_bunch_of
""")

TIMERS: Final = word_list("""
    pizza egg pasta tea coffee rice bread cake laundry nap homework workout cookie chicken potato oven dishwasher
    meditation break plank stretching roast soup lasagna muffin turkey steak shower bath parking meeting
    screen_time piano_practice brownie casserole dumpling yoga dryer steeping
""")

MESSAGES: Final = word_list("""
    dinner_is_ready the_pizza_is_here time_to_go_to_bed the_movie_starts_soon come_downstairs_please
    breakfast_is_on_the_table the_bus_leaves_in_ten_minutes someone_is_at_the_door please_clean_up_your_toys
    the_laundry_is_done I_am_home we_are_leaving_now lunch_will_be_late the_guests_have_arrived school_starts_early
    it_is_time_to_wake_up the_dog_needs_a_walk do_not_forget_your_keys the_game_is_about_to_begin
    homework_before_television the_car_is_waiting_outside everyone_meet_downstairs the_cake_is_in_the_oven
    quiet_please_the_baby_is_asleep the_power_will_go_out_at_noon
""")

MESSAGE_STARTS: Final = word_list("""
    tell someone_call looking_for happy_birthday good_luck welcome_home thank_you see_you_soon we_miss_you hurry_up
""")

GENRES: Final = word_list("""
    jazz rock blues classical reggae techno ambient folk country soul funk opera salsa swing metal punk disco gospel
    lo-fi hip_hop synthwave bluegrass flamenco trance
""")

TITLE_WORDS: Final = word_list("""
    midnight morning thunder silver golden broken lonely dancing silent electric velvet burning frozen paper crystal
    highway river mountain shadow summer winter heartbeat dreamer stranger gypsy rebel angel diamond echo fever horizon
    journey kingdom lightning memory neon ocean paradise rhythm serenade twilight universe voyage whisper wonderland
""")
