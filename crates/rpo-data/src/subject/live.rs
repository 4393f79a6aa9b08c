//! Which classes are animals or people, so that "wearing a red hat" makes sense.

/// Animals, in general and by kind.
const ANIMALS: &str = "alligator alpaca animal ape badger bat bear beaver bee beetle bird bison boar buffalo bull bunny butterfly
    calf camel canary cat chameleon cheetah chick chicken chimpanzee chinchilla cockatiel cockatoo cow crab crocodile crow deer
    dinosaur dog dolphin donkey dove dragon dragonfly duck duckling eagle elephant elk falcon fawn ferret fish flamingo foal fox
    frog gecko gerbil gibbon giraffe goat goldfish goose gorilla hamster hare hawk hedgehog hen hippo hippopotamus horse hound
    hyena iguana insect jaguar jellyfish kangaroo kitten kitty koala ladybug lamb lemur leopard lion lioness lizard llama lobster
    lynx macaw mare meerkat mole mongoose monkey moose mouse mule newt octopus orangutan orca ostrich otter owl ox panda panther
    parakeet parrot peacock pelican penguin pet pheasant pig pigeon piglet platypus pony porcupine pup puppy rabbit
    raccoon ram rat raven reindeer reptile rhino rhinoceros rooster salamander scorpion seagull seahorse seal shark sheep skunk
    sloth snail snake sparrow spider squid squirrel stallion stork swan tadpole tiger tigress toad tortoise toucan turkey turtle
    unicorn vulture walrus weasel whale wolf wombat woodpecker yak zebra";

/// Breeds that stand without "dog" or "cat" beside them.
const BREEDS: &str = "akita basset beagle bengal bernese bichon birman bulldog bullmastiff burmese cavapoo chihuahua cockapoo
    collie corgi dachshund dalmatian doberman doodle goldendoodle greyhound havanese husky inu jindo labradoodle labrador
    malamute maltese maltipoo mastiff pekingese pinscher pitbull pointer pomeranian poodle pug ragdoll retriever rottweiler
    samoyed schnauzer setter sheepdog sheltie shiba shorthair siamese shepherd spaniel spitz terrier tabby tomcat vizsla
    weimaraner whippet yorkie";

/// People.
const PEOPLE: &str = "actor actress artist astronaut athlete aunt baby ballerina boy boyfriend bride brother chef child
    cosplayer couple dad dancer daughter doctor face family farmer father female gentleman girl girlfriend grandfather
    grandma grandmother grandpa groom guy human husband infant kid king knight lady male man mom mother mum musician nurse
    people person pirate player princess prince queen samurai scientist sister singer soldier son teacher teenager toddler
    uncle wife witch wizard woman";

/// Words that make a thing of what they stand beside.
const THINGS: &str = "artificial balloon bronze cardboard ceramic clay cushion doll figure figurine glass
    inflatable keychain knitted lego marble metal mug origami ornament paper plastic plush plushie plushy porcelain print
    rubber sculpture statue statuette sticker stone stuffed teddy toy wooden";

/// Whether a class names an animal or a person. DreamBench's living subjects are dogs and cats; the other words are for users'
/// own folders. Of several words the last one counts, before "with", "in" and the like; "toy", "plush", "statue" and other
/// words for things anywhere make it a thing. Plurals count. Toy poodles and the like are dogs.
pub fn is_live(class: &str) -> bool {
    let class = class.to_lowercase();
    let words: Vec<&str> = class
        .split(|c: char| !(c.is_alphanumeric() || c == '-'))
        .filter(|word| !word.is_empty())
        .collect();
    let listed = |list: &str, word: &str| list.split_whitespace().any(|w| w == word);
    // Toy poodles are dogs.
    let breed = words.last().is_some_and(|word| listed(BREEDS, word));
    let thing = |word: &str| listed(THINGS, word) && !(breed && word == "toy");
    if words.iter().any(|word| thing(word)) {
        return false;
    }
    let joints = ["with", "in", "on", "of", "and", "from", "wearing"];
    let head = words
        .iter()
        .take_while(|word| !joints.contains(word))
        .last();
    let Some(head) = head.copied() else {
        return false;
    };
    let known = |word: &str| {
        [ANIMALS, BREEDS, PEOPLE]
            .iter()
            .any(|list| listed(list, word))
    };
    known(head)
        || head.strip_suffix('s').is_some_and(known)
        || head.strip_suffix("es").is_some_and(known)
        || head
            .strip_suffix("ies")
            .is_some_and(|stem| known(&format!("{stem}y")))
        || ["men", "women", "children", "wolves", "mice", "geese"].contains(&head)
}
