"""Weights from elsewhere and back: raw readers, mapping tables, one strict engine, reconcile.

Names resolve on first use, so that building a command line imports no JAX.
"""

from typing import TYPE_CHECKING

from tlearn.lazy import lazy

if TYPE_CHECKING:
    from tlearn.hub.encoder import encoder_alone as encoder_alone
    from tlearn.hub.errors import HubError as HubError
    from tlearn.hub.export import export_torch_names as export_torch_names
    from tlearn.hub.foreign_folder import export_folder as export_folder
    from tlearn.hub.forward_export import export_forward as export_forward
    from tlearn.hub.forward_load import load_exported as load_exported
    from tlearn.hub.joint import discriminator as discriminator
    from tlearn.hub.joint import generator as generator
    from tlearn.hub.loader import load as load
    from tlearn.hub.lower import lower_blocks as lower_blocks
    from tlearn.hub.model_folder import read_run as read_run
    from tlearn.hub.model_folder import save_model as save_model
    from tlearn.hub.npz_file import read_npz as read_npz
    from tlearn.hub.raw import RawFile as RawFile
    from tlearn.hub.reconciler import reconcile as reconcile
    from tlearn.hub.report import Report as Report
    from tlearn.hub.safetensors_file import read_safetensors as read_safetensors
    from tlearn.hub.safetensors_file import write_safetensors as write_safetensors
    from tlearn.hub.source import Source as Source
    from tlearn.hub.tf_checkpoint import read_tensorflow as read_tensorflow
    from tlearn.hub.torch_file import read_torch as read_torch
    from tlearn.hub.vectors_source import export_word2vec as export_word2vec

__getattr__, __dir__ = lazy(
    __name__,
    {
        "HubError": "errors",
        "RawFile": "raw",
        "Report": "report",
        "Source": "source",
        "discriminator": "joint",
        "encoder_alone": "encoder",
        "export_folder": "foreign_folder",
        "export_forward": "forward_export",
        "export_torch_names": "export",
        "export_word2vec": "vectors_source",
        "generator": "joint",
        "load": "loader",
        "load_exported": "forward_load",
        "lower_blocks": "lower",
        "read_npz": "npz_file",
        "read_run": "model_folder",
        "read_safetensors": "safetensors_file",
        "read_tensorflow": "tf_checkpoint",
        "read_torch": "torch_file",
        "reconcile": "reconciler",
        "save_model": "model_folder",
        "write_safetensors": "safetensors_file",
    },
)
