"""Sentences for the tutor to say while it is measured."""

SHORT = [
    "Hello, and welcome to the lesson.",
    "Let us look at this together.",
    "That is a very good question.",
    "Take your time, and read it once more.",
    "Please tell me what you already know.",
    "Now we move on to the next part.",
]

LONG = (
    "Photosynthesis is how plants make their food. They take in water through their roots, and carbon dioxide through "
    "small openings in their leaves. Sunlight gives them the energy to put both together. What comes out is sugar, "
    "which the plant uses to grow, and oxygen, which you and I breathe. Most of this happens in the leaves, because "
    "they hold a green pigment called chlorophyll. That pigment is also the reason why leaves look green. "
    "Before the invention of the microscope, people believed that plants were made of nothing but water. "
    "A patient experimenter weighed a young tree and its pot of soil, waited five years, and weighed them both again. "
)


LONG_SECONDS = 35  # what LONG takes to say with the built-in voice, about
