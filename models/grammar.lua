-- A grammar of stories: who, where, what is wished for, what stands in the way, who helps, how it ends.
--
--   rules[name]    the alternatives of a rule, equally likely: texts with parts in brackets
--   records[name]  things that a story remembers, equally likely: their fields are texts or names of rules
--
--   [rule]         one of the alternatives of a rule
--   [x:list]       chooses a record of a list and remembers it as x; says nothing
--   {x.field}      a field of what is remembered as x;  {^x.field} the same with a capital letter
--   [x.field]      an alternative of the rule that this field names
--
-- Every choice multiplies the probability of the story, so that the grammar knows what its stories are worth. No two
-- derivations may give the same text: then that number is exact. nats() checks it, by adding up all derivations of a text.

local records, rules = {}, {}

---------------------------------------------------------------------------------------------------------- who

-- The cast, and what each of them is known by, in every story.
local girls = {
    Anna = "red boots", Clara = "long braids", Ella = "loud laugh", Emma = "yellow raincoat", Ida = "muddy knees",
    Julia = "silver earrings", Lily = "green ribbons", Lucy = "bright freckles", Mia = "wild curls",
    Nora = "round glasses", Rosa = "striped socks", Sara = "woollen cap", Tilda = "wooden shoes", Zoe = "big dimples",
}
local boys = {
    Adam = "crooked teeth", Ben = "patched trousers", David = "long legs", Emil = "straw hat", Finn = "sandy hair",
    Jack = "torn pockets", Jonas = "blue scarf", Leo = "thick eyebrows", Max = "scratched elbows",
    Noah = "warm mittens", Oscar = "checked shirt", Sam = "missing tooth", Tim = "squeaky shoes",
    Tom = "leather belt",
}

-- Tables have no order of their own; a list has.
local function sorted(set)
    local names = {}
    for name in pairs(set) do names[#names + 1] = name end
    table.sort(names)
    return names
end

records.hero = {}
for _, name in ipairs(sorted(girls)) do
    table.insert(records.hero, { name = name, mark = girls[name], child = "girl", he = "she", his = "her", him = "her", hero = "heroine" })
end
for _, name in ipairs(sorted(boys)) do
    table.insert(records.hero, { name = name, mark = boys[name], child = "boy", he = "he", his = "his", him = "him", hero = "hero" })
end

records.trait = {
    { is = "brave", so = "was not afraid of the dark" },
    { is = "curious", so = "asked a hundred questions a day" },
    { is = "quiet", so = "could listen better than anyone" },
    { is = "cheerful", so = "sang even when it rained" },
    { is = "stubborn", so = "never gave up before supper" },
    { is = "clever", so = "could count to a thousand" },
    { is = "dreamy", so = "often forgot to tie both shoes" },
    { is = "gentle", so = "carried snails across the road" },
    { is = "lively", so = "could not sit still for a minute" },
    { is = "patient", so = "could wait longer than a stone" },
    { is = "shy", so = "liked to hide behind the door" },
    { is = "busy", so = "always had something to build" },
}

-- can: what this friend is good at, which decides how it helps.
records.friend = {
    { kind = "mouse", said = "squeaked", can = "small" },
    { kind = "hedgehog", said = "mumbled", can = "small" },
    { kind = "beetle", said = "hummed", can = "small" },
    { kind = "squirrel", said = "chattered", can = "climb" },
    { kind = "cat", said = "purred", can = "climb" },
    { kind = "monkey", said = "laughed", can = "climb" },
    { kind = "owl", said = "hooted", can = "fly" },
    { kind = "crow", said = "cawed", can = "fly" },
    { kind = "sparrow", said = "chirped", can = "fly" },
    { kind = "bear", said = "growled", can = "strong" },
    { kind = "horse", said = "snorted", can = "strong" },
    { kind = "donkey", said = "brayed", can = "strong" },
    { kind = "dog", said = "barked", can = "nose" },
    { kind = "fox", said = "whispered", can = "nose" },
    { kind = "pig", said = "grunted", can = "nose" },
    { kind = "frog", said = "croaked", can = "swim" },
    { kind = "otter", said = "whistled", can = "swim" },
    { kind = "duck", said = "cackled", can = "swim" },
}

local animals = {
    Pip = "a tiny bell", Momo = "a paper crown", Bruno = "an eyepatch", Tilly = "a pearl necklace",
    Hugo = "a top hat", Pearl = "a lace collar", Rusty = "an iron ring", Coco = "a long feather",
    Nutmeg = "a checked vest", Biscuit = "one torn mitten", Fidget = "two odd socks", Barnaby = "a bow tie",
    Pepper = "a nightcap", Olga = "a flowered shawl", Ziggy = "a knitted jumper", Button = "a brass medal",
}
records.called = {}
for _, name in ipairs(sorted(animals)) do table.insert(records.called, { name = name, wears = animals[name] }) end

rules.look = {
    "an old", "a tiny", "a round", "a sleepy", "a funny", "a lonely", "a fat", "a thin", "a young", "a polite", "a grumpy",
    "a wise",
}

---------------------------------------------------------------------------------------------------------- where

records.place = {
    { home = "in a small house by the sea", around = "beach", near = "among the dunes" },
    { home = "in a village under the mountain", around = "mountain", near = "on the stony path" },
    { home = "in a tall tower in the city", around = "city", near = "in a narrow street" },
    { home = "on a farm with red barns", around = "farm", near = "behind the barn" },
    { home = "at the edge of a dark forest", around = "forest", near = "under the old oak" },
    { home = "on an island with one tree", around = "island", near = "between the rocks" },
    { home = "in a mill beside the river", around = "river", near = "at the wooden bridge" },
    { home = "in a wagon that never stayed long", around = "meadow", near = "beside the wheel" },
    { home = "in a lighthouse on a cliff", around = "harbour", near = "at the foot of the stairs" },
    { home = "in the last house before the desert", around = "desert", near = "in the shade of a wall" },
    { home = "in a castle with a leaky roof", around = "castle", near = "in the empty hall" },
    { home = "next to a station where no train stopped", around = "station", near = "on the long platform" },
}

records.weather = {
    { was = "the sun was shining", sky = "blue" },
    { was = "it was raining", sky = "grey" },
    { was = "the wind was blowing", sky = "wild" },
    { was = "snow was falling", sky = "white" },
    { was = "there was fog everywhere", sky = "pale" },
    { was = "a storm was coming", sky = "black" },
    { was = "the first stars came out", sky = "dark" },
    { was = "the air smelled of summer", sky = "golden" },
}

---------------------------------------------------------------------------------------------------------- what

-- trouble: the rule of what stands in the way; the wish comes true with the sentence of `done`.
records.wish = {
    { want = "find the lost key", it = "the key", trouble = "lost", done = "opened the little door at last" },
    { want = "find the lost ring", it = "the ring", trouble = "lost", done = "put it on and never took it off" },
    { want = "find the lost kitten", it = "the kitten", trouble = "lost", done = "gave it a bowl of warm milk" },
    { want = "find the lost song book", it = "the book", trouble = "lost", done = "sang every song in it" },
    { want = "find grandmother's glasses", it = "the glasses", trouble = "lost", done = "brought them to a happy grandmother" },
    { want = "reach the silver lake", it = "the lake", trouble = "far", done = "drank the clear water" },
    { want = "reach the top of the hill", it = "the top", trouble = "far", done = "saw the whole wide world" },
    { want = "reach the end of the rainbow", it = "the rainbow", trouble = "far", done = "danced in all its colours" },
    { want = "reach the house of the moon", it = "the moon", trouble = "far", done = "knocked softly three times" },
    { want = "reach the winter market", it = "the market", trouble = "far", done = "bought a bag of hot chestnuts" },
    { want = "build a boat", it = "the boat", trouble = "hard", done = "sailed it around the bay" },
    { want = "build a kite", it = "the kite", trouble = "hard", done = "let it dance over the roofs" },
    { want = "build a clock", it = "the clock", trouble = "hard", done = "heard it strike seven" },
    { want = "bake a huge cake", it = "the cake", trouble = "hard", done = "shared it with all the neighbours" },
    { want = "bake the best bread", it = "the bread", trouble = "hard", done = "ate it with butter and salt" },
    { want = "catch a falling star", it = "the star", trouble = "high", done = "let it go again, because stars belong to the sky" },
    { want = "pick the golden apple", it = "the apple", trouble = "high", done = "planted its seeds in a row" },
    { want = "ring the big bell", it = "the bell", trouble = "high", done = "woke up the whole town" },
    { want = "save the little bird", it = "the bird", trouble = "high", done = "set it back in its nest" },
    { want = "hang up the lantern", it = "the lantern", trouble = "high", done = "lit the way for everyone" },
}

-- What stands in the way, one rule for each kind of wish; the record says how a friend of each talent gets past it.
records.lost = {
    { was = "a deep hole in the ground", small = "crept into the hole", climb = "climbed down the roots", fly = "fluttered down into the dark", strong = "dug the hole wide open", nose = "sniffed at the edge and pointed", swim = "dived through the mud" },
    { was = "a pond full of weeds", small = "walked over the lily leaves", climb = "swung from branch to branch", fly = "circled over the water", strong = "pulled out all the weeds", nose = "found the trail on the shore", swim = "swam to the bottom" },
    { was = "a heap of dry leaves", small = "slipped under the leaves", climb = "looked down from a tree", fly = "blew the leaves away with both wings", strong = "pushed the heap aside", nose = "smelled it at once", swim = "splashed until the leaves floated off" },
    { was = "a locked wooden box", small = "crawled through the keyhole", climb = "shook the box from above", fly = "brought a bent pin", strong = "broke the lock", nose = "scratched at the right corner", swim = "rolled the box into the wet until it opened" },
}
records.far = {
    { was = "a river without a bridge", small = "knew where the stones were", climb = "tied a rope from tree to tree", fly = "carried a line to the other side", strong = "laid a log across the water", nose = "found the shallow place", swim = "pulled a raft across" },
    { was = "a forest without a path", small = "followed the ants", climb = "looked out from the highest tree", fly = "showed the way from above", strong = "broke a way through the bushes", nose = "followed the smell of smoke", swim = "followed the brook" },
    { was = "a wall that had no gate", small = "found a gap between the stones", climb = "climbed up and let down a rope", fly = "fetched the gardener with the ladder", strong = "pushed until the wall fell", nose = "discovered a tunnel", swim = "swam through the drain" },
    { was = "a giant who slept on the road", small = "tickled him in the ear", climb = "danced on his belly", fly = "dropped a feather on his nose", strong = "rolled him over gently", nose = "woke him with the smell of soup", swim = "sprinkled him with cold water" },
}
records.hard = {
    { was = "that there was no wood", small = "gathered a thousand splinters", climb = "threw down dry branches", fly = "brought one stick after another", strong = "dragged an old tree home", nose = "sniffed out a forgotten pile", swim = "towed a plank from the shore" },
    { was = "that the fire would not burn", small = "crept in and cleaned the oven", climb = "swept the chimney from above", fly = "fanned the flames with both wings", strong = "carried in a sack of coal", nose = "found the driest straw", swim = "chased the water out of the cellar" },
    { was = "that a piece was missing", small = "became the missing piece for a while", climb = "found one on the highest shelf", fly = "borrowed one from the church tower", strong = "bent one out of iron", nose = "tracked it down under the bed", swim = "fished one out of the well" },
    { was = "that nobody knew how", small = "had read the whole recipe from inside the book", climb = "had watched it through a window", fly = "had seen it in a far country", strong = "simply tried until it worked", nose = "asked everyone in the market", swim = "had learned it from an old sailor" },
}
records.high = {
    { was = "that it was much too high", small = "ran up the wall with a thread", climb = "climbed up without a sound", fly = "flew up and came back smiling", strong = "lifted everybody up", nose = "found the hidden stairs", swim = "filled the tub until they floated up" },
    { was = "that the ladder was broken", small = "held the splinters together", climb = "did not need a ladder", fly = "laughed at ladders", strong = "became the ladder", nose = "fetched glue from the workshop", swim = "knotted a ladder of reeds" },
    { was = "that a dragon sat in front of it", small = "told the dragon a very long story", climb = "jumped from head to tail", fly = "led the dragon a merry dance", strong = "asked the dragon to arm wrestling", nose = "baited the dragon with pancakes", swim = "put out the dragon's fire" },
    { was = "that it was guarded by geese", small = "went between their feet", climb = "passed above their heads", fly = "told them about the south", strong = "frowned until they left", nose = "scattered corn behind the shed", swim = "invited them for a swim" },
}

---------------------------------------------------------------------------------------------------------- how

rules.story = { "[opening] [wishing] [going] [way] [meeting] [solving] [arriving] [ending]" }

rules.opening = {
    "Once upon a time there was a [trait:trait]{trait.is} [hero:hero]{hero.child} called {hero.name} who lived [place:place]{place.home}. [known] [habit]",
    "[hero:hero]{hero.name} was a [trait:trait]{trait.is} {hero.child} and lived [place:place]{place.home}. [known] [habit]",
    "Far away, [place:place]{place.home}, lived a [trait:trait]{trait.is} [hero:hero]{hero.child} whose name was {hero.name}. [known] [habit]",
    "Long ago a [trait:trait]{trait.is} [hero:hero]{hero.child} lived [place:place]{place.home}. Everybody called {hero.him} {hero.name}. [known] [habit]",
}
rules.known = {
    "Everyone knew {hero.his} {hero.mark}.",
    "You could tell {hero.him} by {hero.his} {hero.mark}.",
    "{^hero.he} was proud of {hero.his} {hero.mark}.",
}
rules.habit = {
    "{^hero.he} {trait.so}.",
    "People said that {hero.he} {trait.so}.",
    "It was true that {hero.he} {trait.so}, but {hero.he} had [toy] and was [mood] most of the time.",
    "{^hero.he} had [toy] and {trait.so}.",
}
rules.toy = { "a [colour] [plaything]" }
rules.colour = {
    "red", "blue", "green", "yellow", "white", "black", "brown", "grey", "golden", "purple", "pink", "striped",
}
rules.plaything = {
    "ball", "drum", "coat", "crown", "whistle", "hat", "scarf", "bucket", "umbrella", "pencil", "balloon", "box", "blanket",
    "button",
}
rules.mood = { "happy", "content", "in a good mood", "merry", "as glad as a lark" }

rules.wishing = {
    "More than anything {hero.he} wanted to [wish:wish]{wish.want}.",
    "Every night {hero.he} dreamed of one thing: to [wish:wish]{wish.want}.",
    "One morning {hero.he} woke up and knew: today I will [wish:wish]{wish.want}.",
    "\"I want to [wish:wish]{wish.want},\" {hero.he} told [family]. [answer]",
    "There was only one thing {hero.he} wished for, and that was to [wish:wish]{wish.want}.",
}
rules.family = {
    "{hero.his} mother", "{hero.his} father", "{hero.his} grandmother", "{hero.his} uncle", "{hero.his} little sister",
    "{hero.his} big brother", "the neighbour", "the teacher",
}
rules.answer = {
    "\"Then put on warm socks,\" was the answer.",
    "\"You are too small,\" was the answer.",
    "\"Be home before dark,\" was the answer.",
    "\"Nobody has ever done that,\" was the answer.",
    "\"Take some bread with you,\" was the answer.",
    "\"And I want a castle,\" was the answer.",
}

rules.going = {
    "So {hero.he} packed [food] and set out while [weather:weather]{weather.was}.",
    "On [day] [weather:weather]{weather.was}, and {hero.name} put [food] into a bag and walked off.",
    "The sky was [weather:weather]{weather.sky} when {hero.name} left the house with [food].",
    "Although [weather:weather]{weather.was}, {hero.he} did not wait a minute longer.",
}
rules.day = { "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday" }
rules.food = { "[number] [snack]" }
rules.number = { "two", "three", "four", "five", "six", "seven", "eight", "ten", "twelve" }
rules.snack = {
    "apples", "pancakes", "plums", "carrots", "nuts", "sausages", "biscuits", "pears", "buns", "eggs", "cherries", "potatoes",
    "olives", "waffles", "sandwiches", "tarts",
}

rules.way = {
    "[steps] [sights] Then {hero.he} stopped. The trouble was [thing:{wish.trouble}]{thing.was}.",
    "[steps] [sights] But soon there was a problem, namely [thing:{wish.trouble}]{thing.was}.",
    "[steps] [sights] \"Oh no,\" said {hero.name}, for what {hero.he} had not thought of was [thing:{wish.trouble}]{thing.was}.",
}
rules.steps = {
    "First {hero.he} crossed the {place.around}.",
    "{^hero.he} walked [long] through the {place.around}.",
    "The {place.around} was [empty] that day.",
    "{^hero.he} ran, hopped and sang across the {place.around}.",
    "Nobody in the {place.around} saw {hero.him} go.",
}
rules.sights = {
    "On the way {hero.he} saw [sight] and [sight].",
    "{^hero.he} passed [sight], and behind it [sight].",
    "Somewhere stood [sight], but {hero.he} looked only at [sight].",
    "There was [sight], there was [sight], and nobody was surprised.",
}
rules.sight = { "a [colour] [object]" }
rules.object = {
    "snail", "wagon", "windmill", "fountain", "goat", "bench", "lantern", "butterfly", "tent", "barrel", "flag", "hen", "statue",
    "bicycle", "gate", "cart", "chimney", "rabbit", "scarecrow", "piano", "mailbox", "turtle", "chair", "door",
}
rules.long = { "for an hour", "all morning", "for half a day", "until noon", "for a long time", "a hundred steps" }
rules.empty = { "empty", "very still", "full of strangers", "bright and loud", "wet and cold", "covered with flowers" }
rules.meeting = {
    "[tears] {^place.near} sat [look] [friend:friend]{friend.kind}. \"[hello],\" {friend.said} the {friend.kind}. \"My name is [called:called]{called.name}. [offer]\" It wore {called.wears}.",
    "[tears] Just then {hero.he} met [look] [friend:friend]{friend.kind} named [called:called]{called.name} {place.near}. \"[hello],\" {friend.said} {called.name}. \"[offer]\" It wore {called.wears}.",
    "[tears] \"[hello],\" said a voice {place.near}. It belonged to [called:called]{called.name}, [look] [friend:friend]{friend.kind}. \"[offer]\" It wore {called.wears}.",
}
rules.tears = {
    "{^hero.he} sat down and thought.",
    "{^hero.he} nearly cried.",
    "{^hero.he} tried [tries], but it was no use.",
    "\"What now?\" {hero.he} asked the clouds.",
    "{^hero.he} kicked a stone and sighed.",
    "{^hero.he} ate [food] and felt a little better.",
}
rules.tries = { "once", "twice", "three times", "with both hands", "with a stick", "with closed eyes", "backwards", "again and again" }
rules.hello = {
    "Good day", "Hello there", "Why so sad", "What a face", "Excuse me", "Do not give up", "Who are you", "Welcome",
}
rules.offer = {
    "May I help you?", "Perhaps I know a way.", "For [price] I will help you.", "Two are better than one.",
    "I have nothing else to do today.", "Nobody ever asks me, but I am good at this.", "Share your lunch with me, and we will see.",
}
rules.price = { "a smile", "a song", "a bit of cheese", "a good story", "a warm blanket", "a kiss", "one button", "a riddle" }

rules.solving = {
    "\"[thanks],\" said {hero.name}. And the {friend.kind} {thing.[friend.can]}.",
    "{hero.name} [agreed]. So {called.name} {thing.[friend.can]}.",
    "\"[thanks],\" said {hero.name}, and could hardly believe it: {called.name} {thing.[friend.can]}!",
    "First they shared [food]. Then the {friend.kind} {thing.[friend.can]}, as if it were nothing.",
}
rules.thanks = { "Thank you", "Yes, please", "That would be wonderful", "You are kind", "Let us try", "How lucky I am" }
rules.agreed = { "nodded", "laughed", "agreed at once", "thought about it and agreed", "jumped for joy", "bowed politely" }

rules.arriving = {
    "[time] they had done it: there was {wish.it}. {hero.name} {wish.done}.",
    "[time] {hero.name} stood before {wish.it} and {wish.done}.",
    "[time] everything was easy. {hero.name} {wish.done}, and {called.name} cheered.",
    "\"Look, {wish.it}!\" cried {called.name} [soon]. {hero.name} {wish.done}.",
}
rules.time = { "Before evening", "At last", "A moment later", "When the clock struck four", "In the end", "Suddenly", "Not long after that" }
rules.soon = { "soon", "at sunset", "after a while", "the next morning", "out of breath", "with a grin" }

rules.ending = {
    "From that day on {hero.name} and the {friend.kind} were friends. [moral]",
    "{hero.name} went home and told [family] everything. [moral]",
    "In the evening {hero.name} and {called.name} sat {place.near} and ate [food]. [moral]",
    "And {called.name} the {friend.kind} moved in with the {hero.hero} of this story. [moral]",
    "They promised to meet again on [day]. [moral]",
}
rules.moral = {
    "The end.",
    "And if nobody woke them, they are sleeping still.",
    "Good friends make short ways.",
    "Sometimes the smallest step is the first one.",
    "It is good to ask for help.",
    "And that is how a {trait.is} {hero.child} learned to trust.",
    "What a day that was!",
    "Whoever does not believe it may ask the {friend.kind}.",
    "And the {place.around} has been a happier place ever since.",
}

-------------------------------------------------------------------------------------------------- telling, judging

-- A text cut into parts: strings are said; {rule=...}, {bind=, list=}, {say=, field=} are done.
local function cut(text)
    local parts, at = {}, 1
    while at <= #text do
        local open = text:find("[%[{]", at)
        if not open then
            parts[#parts + 1] = text:sub(at)
            break
        end
        if open > at then parts[#parts + 1] = text:sub(at, open - 1) end
        local close = text:sub(open, open) == "[" and "%b[]" or "%b{}"
        local first, last = text:find(close, open)
        local inner = text:sub(first + 1, last - 1)
        local variable, list = inner:match("^(%a+):{?([%a.]+)}?$")
        if close == "%b{}" then
            local capital, x, field = inner:match("^(%^?)(%a+)%.(.+)$")
            parts[#parts + 1] = { say = x, field = field, capital = capital ~= "" }
        elseif variable then
            parts[#parts + 1] = { bind = variable, list = list }
        else
            parts[#parts + 1] = { rule = inner }
        end
        at = last + 1
    end
    return parts
end

for _, alternatives in pairs(rules) do
    for i, text in ipairs(alternatives) do alternatives[i] = cut(text) end
end

-- "wish.trouble": a field of what is remembered; anything else stands for itself.
local function value(name, memory)
    local x, field = name:match("^(%a+)%.(%a+)$")
    if x then return memory[x][field] end
    return name
end

local function said(part, memory)
    local inner = part.field:match("^%[(.+)%]$")
    local text = memory[part.say][inner and value(inner, memory) or part.field]
    if not text then error("nothing is known of " .. part.say .. "." .. part.field) end
    return part.capital and text:sub(1, 1):upper() .. text:sub(2) or text
end

local function tell(random)
    local memory, text, nats = {}, {}, 0
    local function choose(from)
        nats = nats + math.log(#from)
        return from[random(#from)]
    end
    local function expand(name)
        for _, part in ipairs(choose(rules[name])) do
            if type(part) == "string" then text[#text + 1] = part
            elseif part.rule then expand(part.rule)
            elseif part.bind then memory[part.bind] = choose(records[value(part.list, memory)])
            else text[#text + 1] = said(part, memory)
            end
        end
    end
    expand("story")
    return table.concat(text), nats
end

-- The probability of a text over all its derivations: every choice is tried, and given up where the text goes on
-- differently. `rest` is a list of (parts, index) that are still to come.
local function nats(text)
    local follow
    local function alternatives(from, at, memory, rest, enter)
        local total = 0
        for _, one in ipairs(from) do total = total + enter(one, at, memory, rest) end
        return total / #from
    end
    function follow(at, memory, rest)
        while rest and rest.index > #rest.parts do rest = rest.after end
        if not rest then return at == #text + 1 and 1 or 0 end
        local part = rest.parts[rest.index]
        local after = { parts = rest.parts, index = rest.index + 1, after = rest.after }
        if part.rule then
            return alternatives(rules[part.rule], at, memory, after, function(parts)
                return follow(at, memory, { parts = parts, index = 1, after = after })
            end)
        elseif part.bind then
            return alternatives(records[value(part.list, memory)], at, memory, after, function(record)
                local more = setmetatable({ [part.bind] = record }, { __index = memory })
                return follow(at, more, after)
            end)
        end
        local words = type(part) == "string" and part or said(part, memory)
        if text:sub(at, at + #words - 1) ~= words then return 0 end
        return follow(at + #words, memory, after)
    end
    return -math.log(follow(1, {}, { parts = { { rule = "story" } }, index = 1 }))
end

return { tell = tell, nats = nats }
