"""What is known of the shipped sets before any of their files is read."""

from dataclasses import replace

from bss2jax.data.dataset import Spec

_DIGITS = tuple("0123456789")

_LAND = (
    "AnnualCrop", "Forest", "HerbaceousVegetation", "Highway", "Industrial",
    "Pasture", "PermanentCrop", "Residential", "River", "SeaLake",
)  # fmt: skip
_THINGS = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
_MORE_THINGS = tuple(
    """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle
    bowl boy bridge bus butterfly camel can castle caterpillar cattle
    chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur
    dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard
    lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle mountain
    mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree
    plain plate poppy porcupine possum rabbit raccoon ray road rocket
    rose sea seal shark shrew skunk skyscraper snail snake spider
    squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor
    train trout tulip turtle wardrobe whale willow_tree wolf woman worm
    """.split()
)
_CLOTHES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
_ACTIVITIES = (
    "WALKING", "WALKING_UPSTAIRS", "WALKING_DOWNSTAIRS", "SITTING", "STANDING", "LAYING",
)  # fmt: skip

_MNIST = Spec(
    shape=(28, 28, 1), dtype="uint8", classes=_DIGITS, full_scale=255.0, train=60_000, version=1
)
_CIFAR = Spec(
    shape=(32, 32, 3), dtype="uint8", classes=_THINGS, full_scale=255.0, train=50_000, version=1
)

SPECS = {
    "cifar10": replace(
        _CIFAR,
        copies=(
            (
                "ed70c5729393db59d427ac19e77a459a6eadd27166273e62aa651280afdde367",
                "a re-pack: 98 of 60,000 images come from a JPEG copy, the test set is sorted",
            ),
        ),
    ),
    "cifar100": replace(_CIFAR, classes=_MORE_THINGS),
    "digits": Spec(shape=(8, 8, 1), dtype="uint8", classes=_DIGITS, full_scale=16.0, train=1437),
    "eurosat": Spec(
        shape=(64, 64, 3),
        dtype="uint8",
        classes=_LAND,
        full_scale=255.0,
        train=21_600,
        version=1,
        splits=("train", "test", "validation"),
    ),
    "fashion16": replace(_MNIST, shape=(16, 16, 1), classes=_CLOTHES),
    "fashion_mnist": replace(_MNIST, classes=_CLOTHES),
    # Body acceleration, g, angular velocity, rad/s, total acceleration, g; a percent lies beyond.
    "har": Spec(
        shape=(128, 9),
        dtype="float32",
        classes=_ACTIVITIES,
        full_scale=(0.6,) * 3 + (1.5,) * 3 + (1.25,) * 3,
        train=7352,
        version=1,
        grouped=True,
    ),
    "mnist": _MNIST,
    "mnist16": replace(_MNIST, shape=(16, 16, 1)),
    "two_patterns": Spec(
        shape=(64,), dtype="float32", classes=("other", "in order"), full_scale=1.0, train=4000
    ),
    "yinyang": Spec(
        shape=(4,), dtype="float32", classes=("yin", "yang", "dot"), full_scale=1.0, train=5000
    ),
}
