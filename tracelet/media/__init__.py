"""Media: images, figures, histograms, text, tables, audio, video, 3D objects. From the value to the bytes, and back."""
