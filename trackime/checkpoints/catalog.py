"""The checkpoints that trackers, segmenters and depth load by name: addresses, licences, published figures.

Addresses, licences and figures were taken from the projects' own pages and papers (`Checkpoint.source`,
`Checkpoint.tapvid_source`). A `sha256` is given only where several independent projects pin the same digest of
the same published file; all others are trusted on first use (see `trackime.checkpoints.store`).
"""

from __future__ import annotations

from dataclasses import dataclass

_APACHE, _MIT, _NON_COMMERCIAL = "Apache-2.0", "MIT", "CC-BY-NC-4.0"


@dataclass(frozen=True)
class RemoteFile:
    """A file of a checkpoint."""

    url: str
    """Where it is published."""
    name: str = ""
    """Its name in the cache; empty: the last part of the url."""
    size: int | None = None
    """Bytes of what is downloaded; None: not known. For display and for the space on disk: never a check."""
    sha256: str | None = None
    """Digest of what is downloaded, lower case; None: not published."""
    member: str = ""
    """Pattern of the file to take out of a tar archive; empty: the file is used as it comes."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.name or self.url.rpartition("/")[2])


@dataclass(frozen=True)
class Checkpoint:
    """A published checkpoint."""

    name: str
    """The same as the tracker's or segmenter's registered name."""
    kind: str
    """"tracker", "segmenter" or "depth"."""
    title: str
    """The model's name as its authors write it."""
    files: tuple[RemoteFile, ...]
    """One file; or several, and then the checkpoint is the folder of them."""
    licence: str
    """SPDX name of the licence of the weights."""
    source: str
    """Page of the project that publishes it."""
    paper: str
    """Page of the paper."""
    input_size: str
    """Size, height x width, that it was published for (trained at, or resized to by its authors' program)."""
    parameters: int | None = None
    """Trainable numbers; None: not known."""
    tapvid: tuple[tuple[str, float], ...] = ()
    """Published TAP-Vid figures in per cent: (data set, query mode and metric) to value. d: mean share of visible
    points within 1, 2, 4, 8, 16 px at 256x256."""
    tapvid_source: str = ""
    """Where `tapvid` was published."""
    shares: str = ""
    """Name of the checkpoint whose files it uses, where it has none of its own."""

    @property
    def commercial(self) -> bool:
        """Whether the licence allows commercial use."""
        return "-NC" not in self.licence

    @property
    def is_folder(self) -> bool:
        return len(self.files) > 1

    @property
    def size(self) -> int | None:
        """Bytes to download; None where a large part of them is not known."""
        known = [file.size for file in self.files if file.size is not None]
        weights = max(self.files, key=lambda file: (file.size or 0, not file.name.endswith(".json")))
        return sum(known) if weights.size is not None else None


_TAPNET = "https://github.com/google-deepmind/tapnet"
_TAPNET_FILES = "https://storage.googleapis.com/dm-tapnet"
_COTRACKER = "https://github.com/facebookresearch/co-tracker"
_LOCOTRACK = "https://github.com/cvlab-kaist/locotrack"
_HUB = "https://huggingface.co"
_SAM = "https://github.com/facebookresearch/segment-anything"
_SAM2 = "https://github.com/facebookresearch/sam2"


def _folder(repository: str, weights: RemoteFile | None = None, revision: str = "main") -> tuple[RemoteFile, ...]:
    """The files transformers loads: its configuration and the weights."""
    base = f"{_HUB}/{repository}/resolve/{revision}"
    return (
        RemoteFile(f"{base}/config.json"),
        weights or RemoteFile(f"{base}/model.safetensors"),
    )


def _depth(
    name: str,
    title: str,
    repository: str,
    licence: str,
    pages: tuple[str, str],
    size: str,
    parameters: int,
    megabytes: int | None = None,
    revision: str = "main",
) -> Checkpoint:
    """A network of monocular depth; its third file says how images are prepared. Megabytes as the Hub lists them."""
    base = f"{_HUB}/{repository}/resolve/{revision}"
    weights = RemoteFile(f"{base}/model.safetensors", size=megabytes and megabytes * 1_000_000)
    prepare = RemoteFile(f"{base}/preprocessor_config.json")
    files = (*_folder(repository, weights, revision), prepare)
    return Checkpoint(name, "depth", title, files, licence, *pages, size, parameters)


def _tapir(name: str, title: str, file: RemoteFile, parameters: int, size: str, **more: object) -> Checkpoint:
    return Checkpoint(name, "tracker", title, (file,), _APACHE, _TAPNET, input_size=size, parameters=parameters,
                      **more)  # type: ignore[arg-type]  # fmt: skip


_TAPIR_FILE = RemoteFile(f"{_TAPNET_FILES}/tapir_checkpoint_panning.pt", "tapir_checkpoint_panning.pt", 124_348_474)
_TAPIR_PAPER, _BOOTS_PAPER = "https://arxiv.org/abs/2306.08637", "https://arxiv.org/abs/2402.00847"
_SAM2_PAPER = "https://arxiv.org/abs/2408.00714"


def _sam2(size: str, parameters: int, files: tuple[RemoteFile, ...] | None = None) -> Checkpoint:
    files = files or _folder(f"facebook/sam2.1-hiera-{size}")
    return Checkpoint(
        f"sam2.1-{size}", "segmenter", f"SAM 2.1 {size}", files, _APACHE, _SAM2, _SAM2_PAPER, "1024x1024", parameters
    )


def _locotrack(size: str, parameters: int, figures: tuple[tuple[str, float], ...] = ()) -> Checkpoint:
    name = f"locotrack_{size}.ckpt"
    file = RemoteFile(f"{_HUB}/datasets/hamacojr/LocoTrack-pytorch-weights/resolve/main/{name}")
    paper = "https://arxiv.org/abs/2407.15420"
    return Checkpoint(f"locotrack-{size}", "tracker", f"LocoTrack {size}", (file,), _APACHE, _LOCOTRACK, paper,
                      "256x256", parameters, figures, paper if figures else "")  # fmt: skip


def _sam(size: str, parameters: int, name: str, length: int | None, sha256: str) -> Checkpoint:
    file = RemoteFile(f"https://dl.fbaipublicfiles.com/segment_anything/{name}", size=length, sha256=sha256)
    return Checkpoint(f"sam-vit-{size}", "segmenter", f"SAM ViT-{size.upper()} (original file)", (file,), _APACHE, _SAM,
                      "https://arxiv.org/abs/2304.02643", "1024x1024", parameters)  # fmt: skip


_ANYTHING = "https://github.com/DepthAnything/Depth-Anything-V2", "https://arxiv.org/abs/2406.09414"
_ZOE = "https://github.com/isl-org/ZoeDepth", "https://arxiv.org/abs/2302.12288"
_DPT = "https://github.com/isl-org/DPT", "https://arxiv.org/abs/2103.13413"


def _anything(name: str, licence: str, parameters: int, megabytes: int | None = None) -> Checkpoint:
    title, repository = f"Depth Anything V2 {name}", f"depth-anything/Depth-Anything-V2-{name.replace(' ', '-')}-hf"
    key = f"depth-anything-v2-{name.lower().replace(' ', '-')}"
    return _depth(key, title, repository, licence, _ANYTHING, "518x518", parameters, megabytes)


_SAM2_TINY = f"{_HUB}/facebook/sam2.1-hiera-tiny/resolve/de431c4043854a71d8101e17995dfe596bf101a5"

_ROWS = (
    _tapir("tapir", "TAPIR (panning)", _TAPIR_FILE, 31_072_327, "256x256", paper=_TAPIR_PAPER, tapvid_source=_TAPNET,
           tapvid=(("DAVIS first AJ", 58.5), ("DAVIS strided AJ", 63.3), ("Kinetics first AJ", 50.0))),
    _tapir("tapnet", "TAPNet's cost volume with TAPIR's weights", _TAPIR_FILE, 31_072_327, "256x256",
           paper="https://arxiv.org/abs/2211.03726", shares="tapir"),
    _tapir("bootstapir", "BootsTAPIR v2",
           RemoteFile(f"{_TAPNET_FILES}/bootstap/bootstapir_checkpoint_v2.pt", "bootstapir_checkpoint_v2.pt",
                      218_886_140, "8493c7a69e02c85b9382fbb3c7b8b539b36bc08ede744b9e99feb739a0129f4b"),
           54_699_335, "256x256, 512x512", paper=_BOOTS_PAPER, tapvid_source=_TAPNET,
           tapvid=(("DAVIS first AJ", 62.4), ("DAVIS strided AJ", 67.4), ("Kinetics first AJ", 55.8))),
    _tapir("causal-bootstapir", "Online BootsTAPIR",
           RemoteFile(f"{_TAPNET_FILES}/bootstap/causal_bootstapir_checkpoint.pt", "causal_bootstapir_checkpoint.pt",
                      218_887_028, "87c1e752cf5ce56e3e2f7da460aeb4d40fc826d04ef2939bade86a5c7495377f"),
           54_699_335, "256x256, 512x512", paper=_BOOTS_PAPER, tapvid_source=_TAPNET,
           tapvid=(("DAVIS first AJ", 59.7), ("DAVIS strided AJ", 61.2), ("Kinetics first AJ", 55.1))),
    Checkpoint("cotracker3", "tracker", "CoTracker3 offline (scaled)",
               (RemoteFile(f"{_HUB}/facebook/cotracker3/resolve/main/scaled_offline.pth",
                           sha256="2670d4562ed69326dda775a26e54883925cd11b6fc9b24cb7aa9f8078bce7834"),),
               _NON_COMMERCIAL, _COTRACKER, "https://arxiv.org/abs/2410.11831", "384x512", 25_385_700,
               (("DAVIS first d", 76.9), ("Kinetics first d", 67.8), ("RGB-S first d", 85.0)), _COTRACKER),
    Checkpoint("cotracker3-online", "tracker", "CoTracker3 online (scaled)",
               (RemoteFile(f"{_HUB}/facebook/cotracker3/resolve/main/scaled_online.pth", "scaled_online.pth",
                           101_695_610, "205d34789f19699d64b22cf93f9b697f15f28d4025240e31532e504109837218"),),
               _NON_COMMERCIAL, _COTRACKER, "https://arxiv.org/abs/2410.11831", "384x512", 25_385_700,
               (("DAVIS first d", 76.7), ("Kinetics first d", 68.3), ("RGB-S first d", 82.7)), _COTRACKER),
    Checkpoint("pips", "tracker", "PIPs",
               (RemoteFile("https://www.dropbox.com/s/glk6jmoa9yeervl/reference_model.tar.gz?dl=1", "pips.pth",
                           member="reference_model/model-*.pth"),),
               _MIT, "https://github.com/aharley/pips", "https://arxiv.org/abs/2204.04153", "360x640", 28_677_713),
    Checkpoint("pips2", "tracker", "PIPs++",
               (RemoteFile("https://www.dropbox.com/scl/fi/czdlt2zc2ji2b7zd0pvoe/reference_model.tar.gz"
                           "?rlkey=56ebq4g5dk01kyq8kuismev14&dl=1", "pips2.pth",
                           member="reference_model/model-*.pth"),),
               _MIT, "https://github.com/aharley/pips2", "https://arxiv.org/abs/2307.15055", "512x896", 17_565_410,
               (("DAVIS first d", 70.6),), "https://github.com/aharley/pips2"),
    _locotrack("small", 8_236_133),
    # The authors' page has no figures; this is the paper's as two unrelated projects quote it.
    _locotrack("base", 11_519_717, (("DAVIS strided AJ", 67.8),)),
    Checkpoint("sam", "segmenter", "SAM ViT-B",
               _folder("facebook/sam-vit-base", revision="70c1a07f894ebb5b307fd9eaaee97b9dfc16068f"),
               _APACHE, _SAM, "https://arxiv.org/abs/2304.02643", "1024x1024", 93_735_472),
    _sam("b", 93_735_472, "sam_vit_b_01ec64.pth", 375_042_383,
         "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912"),
    _sam("l", 312_342_832, "sam_vit_l_0b3195.pth", None,
         "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622"),
    _sam("h", 641_090_608, "sam_vit_h_4b8939.pth", 2_564_550_879,
         "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e"),
    Checkpoint("sam-hq", "segmenter", "SAM-HQ ViT-B", _folder("syscv-community/sam-hq-vit-base"), _APACHE,
               "https://github.com/SysCV/sam-hq", "https://arxiv.org/abs/2306.01567", "1024x1024", 94_806_832),
    _sam2("tiny", 38_900_000, (
        RemoteFile(f"{_SAM2_TINY}/config.json", "config.json", 5_695,
                   "860aff9751b139d83a4ad7df1e5535416fded533e0ead02625edbefcb9953cce"),
        RemoteFile(f"{_SAM2_TINY}/model.safetensors", "model.safetensors", 155_908_064,
                   "48c14467e5cf9e51870511feb72c89688e82dd74523142c0538b663e193ac2a7"))),
    _sam2("small", 46_000_000),
    _sam2("base-plus", 80_800_000),
    _sam2("large", 224_400_000),
    Checkpoint("edgetam", "segmenter", "EdgeTAM", _folder("yonigozlan/EdgeTAM-hf"), _APACHE,
               "https://github.com/facebookresearch/EdgeTAM", "https://arxiv.org/abs/2501.07256", "1024x1024"),
    Checkpoint("mobile-sam", "segmenter", "MobileSAM",
               (RemoteFile("https://github.com/ChaoningZhang/MobileSAM/raw/master/weights/mobile_sam.pt",
                           "mobile_sam.pt", 40_728_226,
                           "6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f"),),
               _APACHE, "https://github.com/ChaoningZhang/MobileSAM", "https://arxiv.org/abs/2306.14289", "1024x1024",
               10_130_092),
    # The authors' repository: small models are Apache-2.0, larger ones CC-BY-NC-4.0.
    _anything("Small", _APACHE, 24_785_089, 99),
    _anything("Base", _NON_COMMERCIAL, 97_470_785, 390),
    _anything("Large", _NON_COMMERCIAL, 335_315_649),
    _anything("Metric Indoor Small", _APACHE, 24_785_089, 99),
    _anything("Metric Outdoor Small", _APACHE, 24_785_089, 99),
    _depth("zoedepth", "ZoeDepth NK (NYU and KITTI)", "Intel/zoedepth-nyu-kitti", _MIT, _ZOE, "384x512", 334_560_859,
           1380),
    _depth("dpt-large", "DPT Large (MiDaS 3.0)", "Intel/dpt-large", _APACHE, _DPT, "384x384", 343_030_465),
    # The only safetensors of it are those of a pull request that the Hub's own converter made.
    _depth("dpt-hybrid", "DPT Hybrid (MiDaS 3.0)", "Intel/dpt-hybrid-midas", _APACHE, _DPT, "384x384", 122_377_985, 490,
           revision="refs%2Fpr%2F5"),
)  # fmt: skip

CHECKPOINTS: dict[str, Checkpoint] = {row.name: row for row in _ROWS}
"""Every checkpoint known by name, trackers first."""
