"""Language models for llama.cpp, Ollama and LM Studio."""
