"""Controls of the scores of answers: what is reached without the image or with another one, and image reliance."""
