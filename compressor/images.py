"""The images that a network takes, as its config says."""

from transformers import PreTrainedConfig


def image_shape(config: PreTrainedConfig) -> tuple[int, int, int]:
    """Channels, height and width of the images that a network takes."""
    size = config.image_size
    height, width = (size, size) if isinstance(size, int) else size
    if config.model_type == "timm_wrapper":  # its config keeps what timm is told, and timm takes three by default
        return (config.model_args or {}).get("in_chans", 3), height, width
    return config.num_channels, height, width
