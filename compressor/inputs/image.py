"""Images, processed when a batch needs them, and cached while they fit."""

import io
from collections.abc import Sequence
from typing import Any, Literal

import datasets
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from transformers import AutoImageProcessor, PreTrainedConfig, PreTrainedModel, ViTConfig
from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING

from compressor.errors import InputError, first_line
from compressor.inputs import Encode, Reader
from compressor.inputs.columns import Columns, is_image, only

NAMES = ("pixel_values",)
COLUMNS = ("image",)
FREE_AXES = {0: "batch"}
PROCESSOR: Literal["needed", "made", "none"] = "made"
HAS_LENGTH = False
SKLEARN = ("digits",)
SIZE = "image_size"  # of a config; ResNet's has none of its own
SIZE_IN_USE = "processed_image_size"  # noted in a config whose own size builds the network, but is not the one read
MODES = {1: "L", 3: "RGB"}
CACHE_BYTES = 2**30  # of processed images per split: CIFAR-10 takes 0.6 GB, and reading it again half a training step

is_column = is_image


def find_columns(rows: datasets.Dataset, named: Columns) -> tuple[str, ...]:
    """Return the column of the image."""
    return (named.image or only("image", rows, (), is_image),)


def check(rows: datasets.Dataset, columns: Sequence[str], split: str) -> None:
    """Open every image once, so that a broken one is named before anything is trained."""
    images = rows.cast_column(columns[0], datasets.Image(decode=False))[columns[0]]
    broken = [(index, reason) for index, cell in enumerate(images) if (reason := _complaint(cell))]
    if broken:
        index, reason = broken[0]
        name = (images[index] or {}).get("path")
        where = f"row {index} of {split}, counted from 0" + (f", {name!r}" if name else "")
        more = f" and {len(broken) - 1} more" if len(broken) > 1 else ""
        raise InputError(f"data: {where}{more}: {reason}; repair or remove what does not open")


def _complaint(cell: dict[str, Any] | None) -> str:
    """Say why an image does not open; nothing of one that does."""
    if cell is None:
        return "there is no image"
    try:
        with Image.open(io.BytesIO(cell["bytes"]) if cell["bytes"] else cell["path"]) as found:
            found.load()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:  # pillow's own: OSErrors mostly
        what = "not an image" if isinstance(error, UnidentifiedImageError) else first_line(error)
        return f"the image cannot be read ({what})"
    return ""


def read_processor(folder: str, **settings: Any) -> Any:
    """Load an image processor."""
    return AutoImageProcessor.from_pretrained(folder, **settings)


def new_processor(config: PreTrainedConfig) -> Any:
    """Build an image processor: whole images are resized to the network's size, and scaled to [-1, 1]."""
    if not hasattr(config, SIZE):
        raise InputError(f"model.config: {type(config).__name__} has no image size; add one, such as 'image_size': 32")
    n_channels, height, width = shape(config)
    half = [0.5] * n_channels
    backends: Any = IMAGE_PROCESSOR_MAPPING[ViTConfig]  # the plain one: ResNet's zooms in, DeiT's crops
    return backends["pil"](  # the one that does not need torchvision
        size={"height": height, "width": width}, image_mean=half, image_std=half
    )


def longest(net: PreTrainedModel) -> None:
    """Return None: images have no length."""


def agree_(net: PreTrainedModel, processor: Any, place: str) -> None:
    """Record the image size of the processor where the config has none or another one: the size in use decides.

    A ResNet takes any size; a DINOv2 has position embeddings for one size and takes others as well.
    """
    config = net.config
    n_channels = _n_config_channels(config)
    _mean_for_each_(processor, n_channels)
    made = [_made(processor, n_channels, size, place) for size in ((256, 256), (256, 200))]
    if made[0] != made[1]:
        raise InputError(f"{place}: the processor makes images of several sizes; let it crop, or give height and width")
    if not hasattr(config, SIZE):
        config.image_size = made[0]
    elif made[0] != list(shape(config)[1:]):
        _try_size(net, n_channels, made[0], place)
        setattr(config, SIZE_IN_USE, made[0])


def _mean_for_each_(processor: Any, n_channels: int) -> None:
    """Spell out mean and deviation for each channel; transformers takes one for all, or none, as well."""
    for name, default in (("image_mean", 0.0), ("image_std", 1.0)):
        if hasattr(processor, name):
            value = getattr(processor, name)
            each = [default if value is None else value] if not isinstance(value, list | tuple) else list(value)
            setattr(processor, name, each * n_channels if len(each) == 1 else each)


def _made(processor: Any, n_channels: int, size: tuple[int, int], place: str) -> list[int]:
    """Give height and width of what the processor makes of an image."""
    try:
        pixels = processor(Image.new(MODES[n_channels], size), return_tensors="pt")["pixel_values"]
    except (ValueError, TypeError, KeyError, RuntimeError, IndexError) as error:
        what = f"the image processor does not take images of {n_channels} channels ({first_line(error)})"
        raise InputError(f"{place}: {what}; give the processor that goes with the network") from error
    return list(pixels.shape[2:])


@torch.no_grad()
def _try_size(net: PreTrainedModel, n_channels: int, size: list[int], place: str) -> None:
    """Refuse images of a size that the network does not take."""
    was_training = net.training
    try:
        net.eval()(pixel_values=torch.zeros(1, n_channels, *size))
    except (ValueError, RuntimeError, AssertionError) as error:
        what = f"the processor makes images of {size}, the network takes {list(shape(net.config)[1:])}"
        raise InputError(f"{place}: {what}; change 'size' in preprocessor_config.json") from error
    finally:
        net.train(was_training)


def encode(rows: datasets.Dataset, columns: Sequence[str], reader: Reader, max_length: int) -> tuple[Encode, list[int]]:
    """Process images on demand; ``max_length`` has no meaning for them."""
    return Pixels(rows, columns[0], reader.processor), [1] * len(rows)


def mirrored(encode: Encode, n_examples: int) -> Encode:
    """Add the mirror image of each image, in the same order."""

    def both(indices: Tensor) -> dict[str, Tensor]:
        pixels = encode(indices % n_examples)["pixel_values"]
        is_mirrored = indices[:, None, None, None] >= n_examples
        return {"pixel_values": pixels.flip(-1).where(is_mirrored, pixels)}

    return both


def features(rows: datasets.Dataset, columns: Sequence[str]) -> None:
    """Measure nothing: the processor scales the images."""


def sizes(config: PreTrainedConfig) -> dict[str, int]:
    """Return nothing: all sizes are widths."""
    return {}


def shape(config: PreTrainedConfig) -> tuple[int, int, int]:
    """Channels, height and width of the images that a network takes."""
    size = getattr(config, SIZE_IN_USE, None) or config.image_size
    height, width = (size, size) if isinstance(size, int) else size
    return _n_config_channels(config), height, width


def _n_config_channels(config: PreTrainedConfig) -> int:
    """Count the channels that a network takes; timm takes three by default."""
    if config.model_type == "timm_wrapper":
        return int((config.model_args or {}).get("in_chans", 3))
    return int(config.num_channels)


def example(
    reader: Reader, config: PreTrainedConfig, batch_size: int, length: int, generator: torch.Generator
) -> dict[str, Tensor]:
    """Make random images."""
    return {"pixel_values": torch.randn(batch_size, *shape(config), generator=generator)}


def plain(config: PreTrainedConfig, batch_size: int, length: int) -> dict[str, Tensor]:
    """Make grey images."""
    return {"pixel_values": torch.zeros(batch_size, *shape(config))}


def from_sklearn(bunch: Any) -> tuple[dict[str, Any], datasets.Features]:
    """Draw the 8x8 digits, whose pixels are counts from 0 to 16."""
    drawn = [Image.fromarray((pixels * (255 / 16)).round().astype("uint8")) for pixels in bunch.images]
    return {"image": drawn}, datasets.Features(image=datasets.Image())


class Pixels:
    """Images of a split, processed when a batch needs them, and cached while all fit."""

    def __init__(self, rows: datasets.Dataset, column: str, processor: Any) -> None:
        self.images, self.processor = rows[column], processor
        self.mode = MODES[_n_channels(processor)]
        self.kept: dict[int, Tensor] = {}

    def __call__(self, indices: Tensor) -> dict[str, Tensor]:
        """Return the pixels of these images."""
        wanted = indices.tolist()
        processed = {index: self.kept[index] for index in wanted if index in self.kept}
        if missing := [index for index in wanted if index not in processed]:
            images = [self.images[index].convert(self.mode) for index in missing]
            processed |= zip(missing, self.processor(images, return_tensors="pt")["pixel_values"], strict=True)
        pixels = torch.stack([processed[index] for index in wanted])
        if len(self.kept) * pixels[0].nbytes < CACHE_BYTES:
            self.kept |= processed
        return {"pixel_values": pixels}


def _n_channels(processor: Any) -> int:
    """Count the channels that a processor makes; that of timm's networks keeps the means elsewhere."""
    is_timm = hasattr(processor, "data_config")
    return len(processor.data_config["mean"] if is_timm else processor.image_mean)
