"""Make the random-weight towers that peers and drivetrain are timed on.

usage: make_models.py OUT

OUT/vit-b16, OUT/clip-l14       ViT-B/16 and CLIP's ViT-L/14 at 224 (Hugging Face, f32), and as OUT/NAME.onnx their
                                hidden states, any number of pictures
OUT/radio-l                     a RADIO of ViT-L/16's shape (Megatron's names; table of positions up to 1024)
"""
import json
import os
import sys

import torch
from safetensors.torch import save_file
from transformers import CLIPVisionConfig, CLIPVisionModel, ViTConfig, ViTModel

CLIP_L14 = dict(hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16,
                image_size=224, patch_size=14)
RADIO_L = dict(model_type="radio", num_layers=24, hidden_size=1024, num_attention_heads=16, num_query_groups=16,
               ffn_hidden_size=4096, kv_channels=64, layernorm_epsilon=1e-6, add_bias_linear=True, add_qkv_bias=True,
               gated_linear_unit=False, activation_func="fast_gelu", normalization="LayerNorm", add_class_token=True,
               has_cpe=True, embedder_bias=False, use_mask_token=False, ln_post=False, interpolate_align_corners=True,
               class_token_len=8, patch_dim=16, img_h=224, img_w=224, max_img_h=1024, max_img_w=1024)


def tower(name):
    """transformers' module, in f32."""
    if name == "vit-b16":
        return ViTModel(ViTConfig(), add_pooling_layer=False).eval()
    return CLIPVisionModel(CLIPVisionConfig(**CLIP_L14)).eval()


class Hidden(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, pixel_values):
        return self.model(pixel_values).last_hidden_state


def make_tower(out, name):
    path = f"{out}/{name}"
    if os.path.exists(f"{path}.onnx"):
        return
    model = tower(name)
    model.save_pretrained(path)
    with open(f"{path}/preprocessor_config.json", "w") as f:
        json.dump(dict(image_processor_type="CLIPImageProcessor", do_resize=True, size={"shortest_edge": 224},
                       resample=3, do_center_crop=True, crop_size={"height": 224, "width": 224}, do_rescale=True,
                       rescale_factor=1 / 255, do_normalize=True, image_mean=[0.481, 0.458, 0.408],
                       image_std=[0.269, 0.261, 0.276], do_convert_rgb=True), f)
    with torch.inference_mode():
        torch.onnx.export(Hidden(model), (torch.zeros(2, 3, 224, 224),), f"{path}.onnx", dynamo=False,
                          input_names=["pixel_values"], output_names=["hidden"], opset_version=18,
                          dynamic_axes={"pixel_values": {0: "images"}, "hidden": {0: "images"}})


def make_radio(out):
    path, c = f"{out}/radio-l", RADIO_L
    if os.path.exists(f"{path}/state.safetensors"):
        return
    os.makedirs(path, exist_ok=True)
    H, F, patches = c["hidden_size"], c["ffn_hidden_size"], (c["max_img_h"] // c["patch_dim"]) ** 2
    shapes = {"class_token": (c["class_token_len"], H), "embedder.weight": (H, 3 * c["patch_dim"] ** 2),
              "position_embeddings": (1, patches, H)}
    for i in range(c["num_layers"]):
        layer = f"decoder.layers.{i}."
        for norm in ("input_layernorm", "pre_mlp_layernorm"):
            shapes[layer + norm + ".weight"] = shapes[layer + norm + ".bias"] = (H,)
        for part, rows, columns in (("self_attention.linear_qkv", 3 * H, H), ("self_attention.linear_proj", H, H),
                                    ("mlp.linear_fc1", F, H), ("mlp.linear_fc2", H, F)):
            shapes[layer + part + ".weight"], shapes[layer + part + ".bias"] = (rows, columns), (rows,)
    state = {k: torch.ones(s) if k.endswith("norm.weight") else 0.02 * torch.randn(s) for k, s in shapes.items()}
    save_file(state, f"{path}/state.safetensors", metadata={"format": "megatron-state"})
    with open(f"{path}/config.json", "w") as f:
        json.dump(dict(c, megatron_core="0.16.1"), f)


def main():
    out = sys.argv[1]
    os.makedirs(out, exist_ok=True)
    torch.manual_seed(0)
    for name in ("vit-b16", "clip-l14"):
        make_tower(out, name)
    make_radio(out)


if __name__ == "__main__":
    main()
