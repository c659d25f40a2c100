"""What the documentation claims, by which command each claim was measured, and where its numbers lie.

One declaration: `evidence` prints and resumes it, docs/results.md shows it, and tests hold it against the folder of
results and against the page.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# met: as the goal or the paper says; missed: measured, and not met; open: not measured in the form that would tell;
# shown: a measurement without a goal.
Standing = Literal["met", "missed", "open", "shown"]


@dataclass(frozen=True)
class Claim:
    """One table or line.

    Attributes:
        name: begins the names of its result files.
        page: the page that shows it, and after a `#` its section.
        command: after `python -m benchmarks.`; what is printed with `--json` is the result file.
        files: committed results, newest last; none: it was never run in this form.
        standing: whether it holds.
        note: why it is missed or open, in some words.
        needs: what a machine must have besides the processor.
    """

    name: str
    page: str
    command: str
    files: tuple[str, ...] = ()
    standing: Standing = "shown"
    note: str = ""
    needs: str = ""


EPYC = "2-core-epyc"
XEON = "2-core-xeon"

CLAIMS = (
    Claim(
        "sharing_causes",
        "results.md#the-underfit-form-one-change-at-a-time",
        "sharing_causes",
        (f"sharing_causes_{XEON}_2026-12-01.json",),
        "missed",
        "sliced networks lose 6 to 9 points where 2 is the goal; older rows of the page have no file",
    ),
    Claim(
        "subnet_quality_small",
        "results.md#state",
        "subnet_quality --small",
        (
            f"subnet_quality_small_{EPYC}_2026-11-26.json",
            f"subnet_quality_small_240_epochs_{EPYC}_2026-11-26.json",
        ),
        "open",
        "its networks hardly differ, so it cannot fail",
    ),
    Claim(
        "supernet_quality",
        "results.md#state",
        "supernet_quality --form underfit",
        standing="open",
        note="20 networks, three seeds: about four hours of a core",
    ),
    Claim(
        "sortednet_160_small",
        "results.md#state",
        "sortednet_160 --small",
        (f"sortednet_160_small_{EPYC}_2026-11-26.json",),
        "missed",
        "narrow sub-models keep less than 96 %",
    ),
    Claim(
        "calibration_images",
        "results.md#calibration-of-batch-norms",
        "calibration_images",
        note="numbers on the page, no file was kept",
    ),
    Claim(
        "finalist_bias",
        "results.md#how-well-finalists-were-predicted",
        "finalist_bias",
        (f"finalist_bias_{EPYC}_2026-11-30.json",),
        "met",
    ),
    Claim(
        "real_bert",
        "results.md#a-real-bert-all-minilm-l6-v2",
        "real_bert",
        (f"real_bert_{EPYC}_2026-11-30.json",),
        "met",
        needs="a folder of all-MiniLM-L6-v2",
    ),
    Claim(
        "healing_small",
        "results.md#healing",
        "healing --size small",
        (f"healing_small_{EPYC}_2026-11-30.json",),
        "met",
    ),
    Claim(
        "healing_medium",
        "results.md#healing",
        "healing --size medium",
        (f"healing_medium_{EPYC}_2026-11-30.json",),
        "met",
    ),
    Claim(
        "healing_full",
        "results.md#healing",
        "healing --size full",
        (f"healing_full_{XEON}_2026-12-01.json",),
        "met",
    ),
    Claim(
        "healing_vit",
        "results.md#healing",
        "healing --size vit",
        (f"healing_vit_{XEON}_2026-12-01.json",),
        "met",
    ),
    Claim(
        "healing_cnn",
        "results.md#healing",
        "healing --size cnn",
        (f"healing_cnn_{XEON}_2026-12-01.json",),
        "met",
    ),
    Claim(
        "healing_bert",
        "results.md#healing",
        "healing --size bert --alone",
        (f"healing_bert_{XEON}_2026-12-01.json",),
        "met",
        needs="a folder of all-MiniLM-L6-v2",
    ),
    Claim(
        "select_and_heal_small",
        "results.md#choosing-what-heals-best",
        "select_and_heal --steps 60 --rungs 5 20 --candidates 12 --plain 6 --evaluations 60 --ways fidelities",
        (f"select_and_heal_small_{EPYC}_2026-11-30.json",),
        "missed",
        "+0.7 % hypervolume after healing where 10 % is the goal; it chose who climbs in another way then",
    ),
    Claim(
        "select_and_heal_cnn",
        "results.md#choosing-what-heals-best",
        "select_and_heal --size cnn --rungs 8 32 --candidates 12 --plain 8 --evaluations 60",
        (f"select_and_heal_cnn_{XEON}_2026-12-01.json",),
        "missed",
        "-4.2 % where 10 % is the goal; all healed networks together are 7 % above plain",
    ),
    Claim(
        "select_and_heal_cnn_limit",
        "results.md#choosing-what-heals-best",
        "select_and_heal --size cnn --limit 0.4 --rungs 8 32 --candidates 12 --plain 8 --evaluations 60",
        (f"select_and_heal_cnn_limit_{XEON}_2026-12-01.json",),
        "missed",
        "-3.3 % where 10 % is the goal; all healed networks together are 13 % above plain",
    ),
    Claim(
        "block_solver",
        "results.md#search-by-blocks",
        "block_solver",
        (f"block_solver_{EPYC}_2026-11-30.json", f"block_solver_speed_{XEON}_2026-12-01.json"),
        "met",
    ),
    Claim(
        "stitching",
        "results.md#stitched-networks",
        "stitching",
        (f"stitching_{EPYC}_2026-11-30.json",),
        "missed",
        "one seed of a small form: up to 4 points below the line between anchors that were not trained to their end",
    ),
    Claim(
        "stitching_long",
        "results.md#stitched-networks",
        "stitching --form long --anchors tuned",
        (f"stitching_long_{XEON}_2026-12-01.json",),
        "missed",
        "one seed: 1.3 to 3.6 points below the line between the anchors",
    ),
    Claim(
        "multimodal_small",
        "results.md#two-towers-searched-with-bits",
        "multimodal --form small",
        (f"multimodal_small_{EPYC}_2026-11-30.json",),
        "missed",
        "no network of the front keeps the recall of full INT8",
    ),
    Claim(
        "search_efficiency",
        "results.md#search",
        "search_efficiency",
        (f"search_efficiency_{XEON}_2026-11-25.json", f"search_efficiency_{EPYC}_2026-11-26.json"),
        "met",
        "",
        "NAS-Bench-201",
    ),
    Claim(
        "leaderboard",
        "results.md#against-its-peers-on-problems-of-others",
        "leaderboard --seeds 2 --evaluations 100 --batches 1,8 --budgets-of optuna-gp=50,botorch=30",
        (f"leaderboard_{EPYC}_2026-11-30.json",),
        "missed",
        "not the best mean rank at 50; loses on DTLZ2 and, one at a time, on f13",
        "make peers, NAS-Bench-201",
    ),
    Claim(
        "latency_prediction_measured",
        "results.md#predictors",
        "latency_prediction --parts a",
        (f"latency_prediction_measured_{EPYC}_2026-11-26.json",),
        "missed",
        "tau of mixed INT8 convolutions is 0.92",
    ),
    Claim(
        "latency_prediction_nasbench201",
        "results.md#predictors",
        "latency_prediction --parts b",
        (
            f"latency_prediction_nasbench201_{EPYC}_2026-11-25.json",
            f"latency_prediction_nasbench201_100_{EPYC}_2026-11-25.json",
            f"latency_prediction_nasbench201_200_{EPYC}_2026-11-26.json",
        ),
        "met",
        "",
        "NAS-Bench-201",
    ),
    Claim(
        "device_transfer",
        "results.md#known-devices",
        "device_transfer --hard",
        (f"device_transfer_{EPYC}_2026-11-30.json",),
        "met",
        "",
        "NAS-Bench-201",
    ),
    Claim(
        "device_transfer_without_macs",
        "results.md#known-devices",
        "device_transfer --hard --without-macs --seeds 1",
        (f"device_transfer_without_macs_{EPYC}_2026-11-30.json",),
        "met",
        "",
        "NAS-Bench-201",
    ),
    Claim(
        "latency_repeatability",
        "results.md#repeatability-of-latency",
        "latency_repeatability",
        (f"latency_repeatability_{EPYC}_2026-11-25.json",),
        "met",
    ),
    Claim(
        "proxylessnas_memory",
        "results.md#search-by-gradient",
        "proxylessnas --part memory",
        (f"proxylessnas_memory_{EPYC}_2026-11-25.json", "proxylessnas_memory_h100_2026-11-26.json"),
        "met",
    ),
    Claim(
        "proxylessnas_search",
        "results.md#search-by-gradient",
        "proxylessnas --form medium --part search",
        (f"proxylessnas_search_{EPYC}_2026-11-26.json",),
        "missed",
        "0.3 standard deviations ahead of random where all candidates are MBConv blocks",
    ),
    Claim(
        "proxylessnas_operations",
        "results.md#search-by-gradient",
        "proxylessnas --form operations --part search",
        (f"proxylessnas_operations_{EPYC}_2026-11-26.json",),
        "open",
        "two searches; five are asked for",
    ),
    Claim(
        "llama_nas",
        "log.md",
        "llama_nas",
        (f"llama_nas_{EPYC}_2026-11-26.json",),
        "missed",
        "nothing smaller at no loss: the full network is not redundant; that of healing_full is, and heals",
    ),
    Claim("small_llama", "results.md#training", "small_llama", (f"small_llama_{EPYC}_2026-11-26.json",)),
    Claim(
        "simq_nas_digits",
        "results.md#architecture-and-bits-together",
        "simq_nas --form small",
        (f"simq_nas_digits_{EPYC}_2026-11-25.json",),
    ),
    Claim(
        "simq_nas_llama",
        "results.md#architecture-and-bits-together",
        "simq_nas --form small --family llama",
        (f"simq_nas_llama_{EPYC}_2026-11-26.json",),
    ),
    Claim(
        "simq_nas_mobilenet_medium",
        "results.md#architecture-and-bits-together",
        "simq_nas --form medium --family mobilenet",
        (f"simq_nas_mobilenet_medium_{EPYC}_2026-11-27.json",),
        "missed",
        "ratios without loss are 1.0 to 1.3",
    ),
    Claim(
        "simq_nas_vit_medium",
        "results.md#architecture-and-bits-together",
        "simq_nas --form medium --family vit",
        (f"simq_nas_vit_80_{EPYC}_2026-11-27.json", f"simq_nas_vit_medium_{EPYC}_2026-11-27.json"),
        "missed",
        "ratios without loss are 1.0 to 1.3",
    ),
    Claim(
        "simq_nas_bert_medium",
        "results.md#architecture-and-bits-together",
        "simq_nas --form medium --family bert",
        (f"simq_nas_bert_medium_{EPYC}_2026-11-27.json",),
        "open",
        "a lead of a few sentences",
    ),
    Claim(
        "int8_speed_small",
        "results.md#architecture-and-bits-together",
        "int8_speed --small",
        (f"int8_speed_small_{EPYC}_2026-11-26.json",),
    ),
    Claim(
        "zero_points",
        "results.md#architecture-and-bits-together",
        "zero_points",
        (f"zero_points_{EPYC}_2026-11-27.json",),
    ),
    Claim(
        "weight_bits",
        "results.md#seven-and-eight-bits-of-weights",
        "weight_bits",
        (f"weight_bits_{EPYC}_2026-12-01.json", f"weight_bits_{XEON}_2026-12-01.json"),
    ),
    Claim("gptq", "results.md#gptq", "gptq", (f"gptq_{EPYC}_2026-11-30.json",)),
    Claim(
        "gptq_signed",
        "results.md#gptq",
        "gptq --seeds 0 1 2 --pretrain-steps 300 --steps 0 --slices 0 --test-blocks 60",
        (f"gptq_signed_{XEON}_2026-12-01.json",),
    ),
    Claim(
        "decoding_speed",
        "results.md#a-smaller-llama-on-a-gpu",
        "decoding_speed",
        ("decoding_speed_h100_2026-11-26.json",),
        needs="a GPU",
    ),
    Claim(
        "evaluation_speed",
        "results.md#training",
        "evaluation_speed",
        (f"evaluation_speed_{EPYC}_2026-11-25.json",),
    ),
    Claim("training_step", "results.md#training", "training_step", (f"training_step_{EPYC}_2026-11-26.json",)),
    Claim(
        "supernet_overhead",
        "results.md#training",
        "supernet_overhead",
        (f"supernet_overhead_{XEON}_2026-11-23.json",),
    ),
    Claim("space_speed", "log.md", "space_speed", (f"space_speed_{EPYC}_2026-11-25.json",)),
    Claim("killed_search", "log.md", "killed_search", (f"killed_search_{EPYC}_2026-11-26.json",), "met"),
    Claim(
        "export_speed",
        "results.md#speed-of-exports",
        "export_speed",
        (f"export_speed_{EPYC}_2026-11-30.json", f"export_speed_memory_{XEON}_2026-11-30.json"),
    ),
    Claim(
        "dashboard",
        "results.md#speed-of-the-dashboard",
        "dashboard",
        (f"dashboard_{XEON}_2026-11-30.json",),
        "met",
    ),
    Claim(
        "service_load",
        "results.md#the-api-under-load",
        "service_load --part load",
        (f"service_load_{EPYC}_2026-12-01.json",),
        "met",
    ),
    Claim(
        "service_load_jobs",
        "results.md#the-api-under-load",
        "service_load --part jobs",
        (f"service_load_jobs_{XEON}_2026-12-01.json",),
        "met",
    ),
)
