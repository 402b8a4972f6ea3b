"""Makes small untrained models, one of each architecture. Runs in the reference environment, never in the suite's own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import torch
import transformers as t
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

WORDS = """the a soup needs salt and herbs who won match team in paris is what colour number how many stars cat dog red blue
ready yes no this example about it translate to english summarize : . ? ! , user assistant""".split()  # noqa: SIM905 - a list of them is five times as long
SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "<image>"]
LETTERS = [letter for char in "abcdefghijklmnopqrstuvwxyz0123456789" for letter in (char, f"##{char}")]
VOCABULARY = {
    word: index for index, word in enumerate([*SPECIALS, *WORDS, *(x for x in LETTERS if x not in WORDS)])
}
PIECES = [
    (word, -float(place))
    for place, word in enumerate(["<s>", "<pad>", "</s>", "<unk>", *(f"▁{word}" for word in WORDS)])
]
BERT = {
    "vocab_size": len(VOCABULARY), "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
    "intermediate_size": 48, "max_position_embeddings": 64, "initializer_range": 0.4,
}  # fmt: skip
VIT = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48, "image_size": 32,
    "patch_size": 8, "initializer_range": 0.4,
}  # fmt: skip
LABELS = {"id2label": {0: "cat", 1: "dog", 2: "fish"}, "label2id": {"cat": 0, "dog": 1, "fish": 2}}
CHAT = (
    "{% for m in messages %}{% if m.role == 'tool' %}{{ raise_exception('no tools') }}{% endif %}{{ m.role }} : "
    "{% if m.content is string %}{{ m.content }}{% else %}{% for p in m.content %}"
    "{% if p.type == 'image' %}<image>{% else %}{{ p.text }}{% endif %}{% endfor %}{% endif %} {% endfor %}assistant :"
)
_IMAGES = {"size": {"height": 32, "width": 32}, "do_resize": True}


def tokenizer(folder: Path, *, pairs: bool = True, length: int = 64, **more) -> t.PreTrainedTokenizerFast:
    """Word pieces; with [CLS] and [SEP] around a text unless it is to be continued."""
    made = Tokenizer(models.WordPiece(VOCABULARY, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    if pairs:
        made.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]",
            pair="[CLS] $A [SEP] $B:1 [SEP]:1",
            special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
        )
    fast = t.PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        mask_token="[MASK]", bos_token="[CLS]", eos_token="[SEP]", model_max_length=length, **more,
    )  # fmt: skip
    fast.save_pretrained(folder)
    return fast


def _bert(kind: type, **more) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        kind(t.BertConfig(**BERT, **more)).save_pretrained(folder)
        tokenizer(folder, model_input_names=["input_ids", "token_type_ids", "attention_mask"])

    return make


def headless(folder: Path) -> None:
    """The body of a model that does not say what it is, so that a head of any kind would be put on it."""
    _bert(t.BertModel, **LABELS)(folder)
    config = json.loads((folder / "config.json").read_text())
    del config["architectures"]
    (folder / "config.json").write_text(json.dumps(config))


def bart(folder: Path) -> None:
    config = t.BartConfig(
        vocab_size=len(VOCABULARY), d_model=32, encoder_layers=1, decoder_layers=1, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=48, decoder_ffn_dim=48, max_position_embeddings=64, init_std=0.4,
        pad_token_id=0, bos_token_id=2, eos_token_id=3, decoder_start_token_id=2, forced_eos_token_id=3,
    )  # fmt: skip
    t.BartForConditionalGeneration(config).save_pretrained(folder)
    tokenizer(folder, model_input_names=["input_ids", "attention_mask"])


def mbart(folder: Path) -> None:
    """Languages are tokens here."""
    config = t.MBartConfig(
        vocab_size=len(PIECES) + 26, d_model=32, encoder_layers=1, decoder_layers=1, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=48, decoder_ffn_dim=48, max_position_embeddings=64, init_std=0.4,
    )  # fmt: skip
    t.MBartForConditionalGeneration(config).save_pretrained(folder)
    t.MBartTokenizer(vocab=PIECES, src_lang="en_XX", model_max_length=64).save_pretrained(folder)


def gpt2(folder: Path) -> None:
    config = t.GPT2Config(
        vocab_size=len(VOCABULARY), n_embd=32, n_layer=2, n_head=4, n_positions=64, initializer_range=0.4,
        bos_token_id=2, eos_token_id=3,
    )  # fmt: skip
    t.GPT2LMHeadModel(config).save_pretrained(folder)
    tokenizer(folder, pairs=False, chat_template=CHAT)


def tapas(folder: Path) -> None:
    config = t.TapasConfig(
        **BERT, type_vocab_sizes=[3, 64, 64, 2, 64, 64, 10], num_aggregation_labels=2,
        aggregation_labels={0: "NONE", 1: "SUM"},
    )  # fmt: skip
    t.TapasForQuestionAnswering(config).save_pretrained(folder)
    words = folder / "words.txt"
    words.write_text("\n".join([*VOCABULARY, "[EMPTY]"]))
    t.TapasTokenizer(str(words), model_max_length=64).save_pretrained(folder)


def vit(folder: Path) -> None:
    t.ViTForImageClassification(t.ViTConfig(**VIT, **LABELS)).save_pretrained(folder)
    t.ViTImageProcessor(**_IMAGES).save_pretrained(folder)


OWN_CODE = """
import json
import os

from transformers import ViTConfig, ViTForImageClassification


def read(path):
    try:
        with open(path, errors="replace") as file:
            return file.read()
    except OSError as error:
        return type(error).__name__


def written(path):
    try:
        with open(path + "/written", "w"):
            return True
    except OSError:
        return False


class OwnConfig(ViTConfig):
    model_type = "own"


class OwnModel(ViTForImageClassification):
    config_class = OwnConfig

    def __init__(self, config):
        super().__init__(config)
        seen = {
            "environment": sorted(os.environ), "read": [read(path) for path in os.environ["LOOK_AT"].split(":")],
            "written": [path for path in os.environ["WRITE_TO"].split(":") if written(path)],
        }
        config.id2label = {0: json.dumps(seen), 1: "dog", 2: "fish"}
"""


def own_code(folder: Path) -> None:
    """An image classifier that a Python file of its repository defines; its first label says what that saw of the machine."""
    vit(folder)
    (folder / "own.py").write_text(OWN_CODE)
    config = json.loads((folder / "config.json").read_text())
    classes = {"AutoConfig": "own.OwnConfig", "AutoModelForImageClassification": "own.OwnModel"}
    config |= {"model_type": "own", "architectures": ["OwnModel"], "auto_map": classes}
    (folder / "config.json").write_text(json.dumps(config))


HUNGRY_CODE = """\
import torch
from transformers import ViTConfig, ViTForImageClassification


class HungryConfig(ViTConfig):
    model_type = "hungry"


class HungryModel(ViTForImageClassification):
    config_class = HungryConfig

    def forward(self, pixel_values, **more):
        if pixel_values.min() > 0.9:
            torch.empty(2**50)
        return super().forward(pixel_values, **more)
"""


def hungry(folder: Path) -> None:
    """An image classifier that wants more memory than any machine has for an image that is white all over."""
    vit(folder)
    (folder / "hungry.py").write_text(HUNGRY_CODE)
    config = json.loads((folder / "config.json").read_text())
    classes = {"AutoConfig": "hungry.HungryConfig", "AutoModelForImageClassification": "hungry.HungryModel"}
    config |= {"model_type": "hungry", "architectures": ["HungryModel"], "auto_map": classes}
    (folder / "config.json").write_text(json.dumps(config))


def clip(folder: Path) -> None:
    text = {**BERT, "projection_dim": 16, "eos_token_id": 3}
    config = t.CLIPConfig(text_config=text, vision_config={**VIT, "projection_dim": 16}, projection_dim=16)
    t.CLIPModel(config).save_pretrained(folder)
    fast = tokenizer(folder, model_input_names=["input_ids", "attention_mask"])
    t.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=32).save_pretrained(folder)
    assert fast.pad_token_id == 0


def yolos(folder: Path) -> None:
    config = t.YolosConfig(**{**VIT, "image_size": [32, 32]}, num_detection_tokens=4, **LABELS)
    t.YolosForObjectDetection(config).save_pretrained(folder)
    t.YolosImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)


def segformer(folder: Path) -> None:
    config = t.SegformerConfig(
        depths=[1, 1, 1, 1], hidden_sizes=[8, 8, 16, 16], decoder_hidden_size=16, num_attention_heads=[1, 1, 2, 2],
        initializer_range=0.4, **LABELS,
    )  # fmt: skip
    t.SegformerForSemanticSegmentation(config).save_pretrained(folder)
    t.SegformerImageProcessor(**_IMAGES).save_pretrained(folder)


def glpn(folder: Path) -> None:
    config = t.GLPNConfig(
        depths=[1, 1, 1, 1], hidden_sizes=[8, 8, 16, 16], decoder_hidden_size=16, num_attention_heads=[1, 1, 2, 2],
        initializer_range=0.4,
    )  # fmt: skip
    t.GLPNForDepthEstimation(config).save_pretrained(folder)
    t.GLPNImageProcessor().save_pretrained(folder)


def captions(folder: Path) -> None:
    decoder = t.GPT2Config(
        vocab_size=len(VOCABULARY), n_embd=32, n_layer=1, n_head=4, n_positions=32, initializer_range=0.4,
        bos_token_id=2, eos_token_id=3,
    )  # fmt: skip
    config = t.VisionEncoderDecoderConfig.from_encoder_decoder_configs(
        t.ViTConfig(**VIT), decoder, decoder_start_token_id=2, pad_token_id=0
    )
    model = t.VisionEncoderDecoderModel(config)
    model.generation_config = t.GenerationConfig(decoder_start_token_id=2, pad_token_id=0, eos_token_id=3)
    model.save_pretrained(folder)
    tokenizer(folder, pairs=False)
    t.ViTImageProcessor(**_IMAGES).save_pretrained(folder)


def llava(folder: Path) -> None:
    text = t.LlamaConfig(
        vocab_size=len(VOCABULARY), hidden_size=32, num_hidden_layers=1, num_attention_heads=4, intermediate_size=48,
        max_position_embeddings=128, initializer_range=0.4, bos_token_id=2, eos_token_id=3, pad_token_id=0,
    )  # fmt: skip
    config = t.LlavaConfig(
        vision_config=t.CLIPVisionConfig(**VIT), text_config=text, image_token_index=VOCABULARY["<image>"]
    )
    t.LlavaForConditionalGeneration(config).save_pretrained(folder)
    fast = tokenizer(folder, pairs=False, additional_special_tokens=["<image>"])
    images = t.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=32)
    t.LlavaProcessor(
        images, fast, patch_size=8, vision_feature_select_strategy="default", image_token="<image>", chat_template=CHAT,
        num_additional_image_tokens=1,
    ).save_pretrained(folder)  # fmt: skip


def vilt(folder: Path) -> None:
    config = t.ViltConfig(**{**BERT, **VIT}, **LABELS)
    config.num_labels = 3
    t.ViltForQuestionAnswering(config).save_pretrained(folder)
    fast = tokenizer(folder, model_input_names=["input_ids", "token_type_ids", "attention_mask"])
    t.ViltProcessor(t.ViltImageProcessor(size={"shortest_edge": 32}, size_divisor=8), fast).save_pretrained(
        folder
    )


def layoutlm(folder: Path) -> None:
    t.LayoutLMForQuestionAnswering(t.LayoutLMConfig(**BERT, max_2d_position_embeddings=1024)).save_pretrained(
        folder
    )
    tokenizer(folder, model_input_names=["input_ids", "token_type_ids", "attention_mask"])


SOUND = {
    "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 48, "conv_dim": [8, 8, 8],
    "conv_kernel": [10, 8, 4], "conv_stride": [10, 8, 4], "num_feat_extract_layers": 3, "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 4,
}  # fmt: skip


def wav2vec2(folder: Path) -> None:
    letters = {
        char: index for index, char in enumerate(["<pad>", "<s>", "</s>", "<unk>", "|", *"abcdefghij"])
    }
    t.Wav2Vec2ForCTC(t.Wav2Vec2Config(**SOUND, vocab_size=len(letters))).save_pretrained(folder)
    (folder / "letters.json").write_text(json.dumps(letters))
    t.Wav2Vec2CTCTokenizer(str(folder / "letters.json")).save_pretrained(folder)
    t.Wav2Vec2FeatureExtractor(feature_size=1, sampling_rate=16_000).save_pretrained(folder)


def sounds(folder: Path) -> None:
    t.Wav2Vec2ForSequenceClassification(
        t.Wav2Vec2Config(**SOUND, classifier_proj_size=16, **LABELS)
    ).save_pretrained(folder)
    t.Wav2Vec2FeatureExtractor(feature_size=1, sampling_rate=16_000).save_pretrained(folder)


def vits(folder: Path) -> None:
    letters = {char: index for index, char in enumerate(["_", " ", *"abcdefghijklmnopqrstuvwxyz"])}
    config = t.VitsConfig(
        vocab_size=len(letters), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, ffn_dim=16, flow_size=16,
        spectrogram_bins=9, upsample_initial_channel=16, upsample_rates=[4, 4], upsample_kernel_sizes=[8, 8],
        resblock_kernel_sizes=[3], resblock_dilation_sizes=[[1]], duration_predictor_num_flows=2,
        duration_predictor_filter_channels=16, prior_encoder_num_flows=2, posterior_encoder_num_wavenet_layers=2,
        prior_encoder_num_wavenet_layers=2, wavenet_dilation_rate=1, depth_separable_num_layers=2, speaking_rate=1.0,
    )  # fmt: skip
    t.VitsModel(config).save_pretrained(folder)
    (folder / "letters.json").write_text(json.dumps(letters))
    t.VitsTokenizer(str(folder / "letters.json"), pad_token="_", phonemize=False).save_pretrained(folder)


def diffusion(folder: Path) -> None:
    """Images of 16 by 16."""
    import diffusers  # which takes seconds, and is needed here only

    unet = diffusers.UNet2DConditionModel(
        block_out_channels=(8, 16), layers_per_block=1, sample_size=8, in_channels=4, out_channels=4, norm_num_groups=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=32, attention_head_dim=4,
    )  # fmt: skip
    vae = diffusers.AutoencoderKL(
        block_out_channels=[8, 16], in_channels=3, out_channels=3, latent_channels=4, norm_num_groups=4, sample_size=16,
        down_block_types=["DownEncoderBlock2D"] * 2, up_block_types=["UpDecoderBlock2D"] * 2,
    )  # fmt: skip
    text = t.CLIPTextModel(t.CLIPTextConfig(**BERT, bos_token_id=2, eos_token_id=3, pad_token_id=0))
    diffusers.StableDiffusionPipeline(
        vae=vae, text_encoder=text, unet=unet, scheduler=diffusers.DDIMScheduler(clip_sample=False, steps_offset=1),
        tokenizer=tokenizer(folder / "words", model_input_names=["input_ids"]),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    ).save_pretrained(folder)  # fmt: skip


NLI = {
    "id2label": {0: "contradiction", 1: "neutral", 2: "entailment"},
    "label2id": {"contradiction": 0, "neutral": 1, "entailment": 2},
}
MAKERS: dict[str, Callable[[Path], None]] = {
    "bart": bart, "mbart": mbart, "gpt2": gpt2, "tapas": tapas, "vit": vit, "clip": clip, "yolos": yolos, "segformer": segformer,
    "glpn": glpn, "captions": captions, "llava": llava, "vilt": vilt, "layoutlm": layoutlm, "wav2vec2": wav2vec2,
    "sounds": sounds, "vits": vits, "headless": headless, "diffusion": diffusion,
    "own-code": own_code, "hungry": hungry,
    "sequence": _bert(t.BertForSequenceClassification, **LABELS),
    "nli": _bert(t.BertForSequenceClassification, **NLI),
    "tokens": _bert(t.BertForTokenClassification, **LABELS),
    "masked": _bert(t.BertForMaskedLM),
    "hidden": _bert(t.BertModel),
    "answers": _bert(t.BertForQuestionAnswering),
}  # fmt: skip


def make(name: str, below: Path) -> Path:
    """The folder of a model, made at its first use."""
    folder = below / name
    if not folder.exists():
        folder.mkdir()
        torch.manual_seed(3)
        MAKERS[name](folder)
    return folder
