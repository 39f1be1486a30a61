"""What is computed of books and trades: each family one module, each kernel a formula."""
