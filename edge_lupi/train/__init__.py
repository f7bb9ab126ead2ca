"""Teacher, distillation and quantisation-aware fine-tuning, and the loop they share (torch, Lightning Fabric)."""
