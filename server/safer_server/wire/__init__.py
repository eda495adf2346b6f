"""What goes over HTTP: the request and response models of the OpenAI API as far as this server speaks it."""
